"""Documents: files of many formats become pages. Needs no torch.

>>> [kind_of(name) for name in ("report.PDF", "photo.jpeg", "notes.md", "talk.pptx", "song.mp3")]
['pdf', 'image', 'text', 'slides', None]
"""

from polylens.documents.document import Document as Document
from polylens.documents.opening import kind_of as kind_of
from polylens.documents.opening import open_document as open_document
