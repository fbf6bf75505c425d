"""From a text to its outline, by the best way there is for its language."""

from cco_sidecar.core.context.outline.documents import DOCUMENTS, document_outline
from cco_sidecar.core.context.outline.plain import plain_outline
from cco_sidecar.core.context.outline.shape import Outline, Parse


def outline_of(language: str, text: str, parse: Parse) -> Outline:
    """Give the outline of a text; which lines matter to a task plays no part in it, so it can be kept.

    :param parse: is asked first, for all but documents.
    """
    if language in DOCUMENTS:
        return document_outline(language, text)
    return parse(language, text) or plain_outline(language, text)
