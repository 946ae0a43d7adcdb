"""The checksum database: has everybody been given the same bytes for a version?  Pure: no network, no clock, no file.

A version is checked in these steps; fetching is the caller's, and nobody who is asked needs to be trusted::

    database = parse_gosumdb(setting)                                   # names
    record, message = parse_lookup(fetch(lookup_path(version)))         # record: what it says of the version
    head = open_head(message, database.verifier)                        # head: the database signed this tree
    older, newer = sorted([head, seen], key=lambda head: head.tree.size)
    hashes = proven(newer.tree, timeline_indexes(older, newer))
    check_timeline(older, newer, hashes)                                # head: it only grew since we last looked
    hashes = proven(newer.tree, inclusion_indexes(record, newer.tree))
    check_included(record, newer.tree, hashes)                          # record: it is in the tree
    check_sum(record, version, h1, database.name)                       # record: and has this sum

    def proven(tree, indexes):                                          # tile: these hashes are in the tree
        return verify(tree, indexes, {tile: fetch(tile.path) for tile in tiles_needed(tree.size, indexes)})

``seen`` is the newest head that was ever checked, ``NO_HEAD`` at first; after the check of the timeline ``newer`` takes
its place (of two of one size it is the one that was seen).  Once ``verify`` and ``check_included`` have returned, tiles
and lookup may be kept for ever; most tiles are needed by both steps, so keep them at least from one to the other.
Where a database has only the complete form of a tile, ``tile.complete`` names it, and its first ``tile.size`` bytes are
the tile.

What a database or somebody in between has sent and is wrong raises ``VerificationFailed``; what a person wrote (a key,
a setting, the path of a tile) and callers' own mistakes raise ``ValueError``.  The words are Go's where Go has some.
"""
