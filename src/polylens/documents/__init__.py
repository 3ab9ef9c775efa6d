"""Files -> pages: PDFs, images and texts. Needs no torch.

>>> kind_of("report.PDF"), kind_of("photo.jpeg"), kind_of("notes.md"), kind_of("song.mp3")
('pdf', 'image', 'text', None)
"""

from polylens.documents.document import Document as Document
from polylens.documents.document import Kind as Kind
from polylens.documents.opening import kind_of as kind_of
from polylens.documents.opening import open_document as open_document
