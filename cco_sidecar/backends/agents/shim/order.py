"""What a shim is told: one text of fields, separated by NUL."""


class Order:
    """What to start, with which limits, and where to keep its files; as `encode_order` writes it.

    ``cgroup`` is the directory below which the agent gets a control group of its own; empty if there is none.
    ``limits`` has soft and hard limits by the number of the resource; -1 leaves one as it is.
    """

    def __init__(self, text: bytes) -> None:
        fields = text.split(b"\0")
        self.state_path, self.stop_path, self.log_path, self.directory, self.cgroup = fields[:5]
        self.timeout_seconds = float(fields[5])
        self.limits = [tuple(map(int, limit.split(b":"))) for limit in fields[6].split()]
        end = 8 + int(fields[7])
        self.command = fields[8:end]
        self.environment = dict(field.split(b"=", 1) for field in fields[end:])


def encode_order(
    paths: "list[bytes]",
    timeout_seconds: float,
    command: "list[bytes]",
    environment: "list[bytes]",
    *,
    cgroup: bytes = b"",
    limits: "list[tuple[int, int, int]] | None" = None,
) -> bytes:
    """Write an order.

    :param paths: of the state, stop and log file, and the directory.
    :param environment: has ``NAME=VALUE``.
    :param limits: resource, soft and hard limit.

    :raises ValueError: there is a NUL in it.
    """
    bounds = b" ".join(b"%d:%d:%d" % limit for limit in limits or ())
    numbers = [repr(float(timeout_seconds)).encode(), bounds, b"%d" % len(command)]
    fields = [*paths, cgroup, *numbers, *command, *environment]
    if any(b"\0" in field for field in fields):
        raise ValueError("embedded null byte")
    return b"\0".join(fields)
