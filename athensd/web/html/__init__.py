"""What people see: pages without scripts, of ``twisted.web.template``, which escapes all that is put into them."""
