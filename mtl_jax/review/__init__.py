"""A page on this machine to look through scored lesions. It scores nothing and changes no file."""
