"""From a text to its outline, by the best way there is for its language."""

from collections.abc import Callable

from cco_sidecar.core.context.outline.documents import DOCUMENTS, document_outline
from cco_sidecar.core.context.outline.parsing import parsed_outline
from cco_sidecar.core.context.outline.plain import plain_outline
from cco_sidecar.core.context.outline.shape import Outline


def outline_of(language: str, text: str, seconds: Callable[[], float]) -> Outline:
    """Give the outline of a text; which lines matter to a task plays no part in it, so it can be kept.

    :param seconds: tells the processor time that the thread has used, in seconds.
    """
    if language in DOCUMENTS:
        return document_outline(language, text)
    return parsed_outline(language, text, seconds) or plain_outline(language, text)
