"""Blocks of networks that two or more methods use; they know neither tasks nor files."""
