"""One signed file with all that a site without a network needs: modules, toolchains, answers of a checksum database."""
