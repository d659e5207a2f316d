"""Make the site and the PDF, and write what each page has alike."""
