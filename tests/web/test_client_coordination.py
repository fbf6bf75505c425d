"""The client library's claims, tasks, messages, checkpoints and briefing, against the sidecar itself."""

import pytest

from cco_sidecar.client import Client, Conflict
from tests.web.sidecar import Client as Web
from tests.web.sidecar import Sidecar, unique


def client(sidecar: Sidecar, agent: Web) -> Client:
    return Client(f"http://127.0.0.1:{sidecar.port}", agent.token, agent_id=agent.agent_id, environ={})


def test_claims(sidecar: Sidecar) -> None:
    """Claimed, refused with who has it, waited for, renewed, released twice."""
    name = f"{unique('dir')}/a"
    one_agent, two_agent = sidecar.agent(), sidecar.agent()
    with client(sidecar, one_agent) as one, client(sidecar, two_agent) as two:
        made = one.claim([name, f"name:{name}"], 60)
        with pytest.raises(Conflict) as caught:
            two.claim(f"{name[:-1]}*")
        assert caught.value.details["agent_id"] == one_agent.agent_id
        waiting = sidecar.later(two.claim, name, wait=10_000)
        sidecar.until_parked(1)
        assert one.renew(made["id"])["fence"] == made["fence"]
        one.release(made["id"])
        one.release(made["id"])
        assert waiting.result(5)["fence"] > made["fence"]
        assert [line["agent_id"] for line in one.list_claims(resource=name)["claims"]] == [two_agent.agent_id]


def test_tasks(sidecar: Sidecar) -> None:
    """Added, taken, checkpointed, given back, completed; whoever comes late is refused."""
    agent = sidecar.agent("python-specialist")
    with client(sidecar, agent) as worker:
        assert worker.claim_task(wait=50) is None
        made = worker.add_task({"title": "Do it", "agent_type": "python-specialist"})
        given = worker.claim_task(lease_seconds=60)
        assert given is not None
        task_id, fence = given["task"]["id"], given["fence"]
        assert task_id == made["id"]
        worker.checkpoint(task_id, fence, {"step": 1})
        worker.checkpoint(task_id, fence)
        worker.release_task(task_id, fence, "tired")
        again = worker.claim_task(["python-specialist"], issue=agent.issue_id)
        assert again is not None
        assert again["checkpoint"] == {"step": 1}
        with pytest.raises(Conflict):
            worker.complete(task_id, fence)
        worker.complete(task_id, again["fence"], {"ok": True})
        assert worker.get_task(task_id)["result"] == {"ok": True}
        assert [line["id"] for line in worker.list_tasks(state="completed", issue=agent.issue_id)["tasks"]] == [task_id]


def test_checkpoint_and_briefing(sidecar: Sidecar) -> None:
    """Kept and given back; told in the briefing, within its budget."""
    with client(sidecar, sidecar.agent()) as agent:
        assert agent.load_checkpoint() is None
        agent.save_checkpoint({"next_step": "test"})
        assert agent.load_checkpoint() == {"next_step": "test"}
        assert agent.briefing()["checkpoint"] == {"next_step": "test"}
        assert '"next_step": "test"' in agent.briefing_markdown(500)


def test_messages(sidecar: Sidecar) -> None:
    """Sent, waited for, acknowledged, replied to; nobody there is said so."""
    one_agent, two_agent = sidecar.agent(), sidecar.agent()
    with client(sidecar, one_agent) as one, client(sidecar, two_agent) as two:
        assert two.receive_messages(wait=50) == []
        waiting = sidecar.later(two.receive_messages, wait=10_000)
        sidecar.until_parked(1)
        sent = one.send_message(two_agent.agent_id, {"do": 1}, kind="request", ack=True, ttl_seconds=60)
        [given] = waiting.result(5)
        assert (given["id"], given["from"], given["body"]) == (sent["id"], one_agent.agent_id, {"do": 1})
        assert two.acknowledge_message(sent["id"])["state"] == "seen"
        assert one.get_message(sent["id"])["state"] == "seen"
        two.send_message(one_agent.agent_id, "did", reply_to=sent["id"], correlation_id="c")
        assert [line["state"] for line in one.list_messages(box="sent")["messages"]] == ["done"]
        assert one.list_messages(correlation_id="c")["unread"] == 1
        with pytest.raises(Conflict):
            one.send_message(f"issue:{one_agent.issue_id}", "anybody?")
