"""Web pages, PDFs and office files as clean Markdown, with title, links and pages."""
