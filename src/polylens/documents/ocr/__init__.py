"""The words of pages that are pictures only: scans, photographs of paper, screenshots.

Two programs read them, each where it is installed: RapidOCR (Latin, Chinese, Japanese) and Tesseract (by packs of
languages). `page_reader.PageReader` chooses between them, page by page.
"""
