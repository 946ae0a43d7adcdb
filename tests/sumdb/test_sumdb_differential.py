"""What Go itself says: the same questions for golang.org/x/mod/sumdb and for ``athensd.sumdb``, a hundred thousand."""

import random
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from athensd.errors import VerificationFailed
from athensd.gomod.version import ModuleVersion
from athensd.sumdb import head, note, record, tile, tlog
from athensd.sumdb.tlog import Tree
from tests.rig.oracle import build_oracle
from tests.rig.sumdb import Database, Signer

pytestmark = pytest.mark.slow
LARGEST = 3000


@pytest.fixture(scope="session")
def go_says(tmp_path_factory):
    """A function from questions to Go's answers."""
    return build_oracle(Path(__file__).parent / "differential", tmp_path_factory.mktemp("sumdb") / "differential")


@pytest.fixture(scope="session")
def numbers():
    """The log of the Go program: the records are the numbers from 0 on."""
    log = Database()
    for number in range(LARGEST):
        log.add_text(str(number))
    return log


def differences(go_says, operation, ours, questions):
    """The questions on which ``ours`` gives another answer than Go; prints how many were asked.

    ``ours`` returns the values that Go's program returns, or raises one of our errors, whose text is Go's reason.
    """
    answers = go_says([operation, *question] for question in questions)
    found = []
    for question, answer in zip(questions, answers, strict=True):
        try:
            said = True, ours(*question)
        except (VerificationFailed, ValueError) as fault:
            said = False, str(fault)
        if said != (answer["ok"], (answer["values"] or []) if answer["ok"] else answer["reason"]):
            found.append((question, said, answer))
    yes = sum(answer["ok"] for answer in answers)
    print(f"{operation}: {len(questions)} compared, {yes} yes, {len(found)} differences")
    assert yes > 0, "questions that all have one answer compare little"
    return found


def base64(data):
    return b64encode(data).decode()


def checked(function):
    """The values of a check: none, when it does not raise."""

    def ours(*args):
        function(*args)
        return []

    return ours


def bent(rng, data, spice):
    """The bytes or the text with a few places changed."""
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice(spice) + data[at + rng.randrange(3) :]
    return data


# --------------------------------------------------------------------------------------------------------------- texts

# No line breaks in keys: Go skips them inside of base64.
KEY_SPICE = [*"aZ09+/= =", "", "\u00a0", "+0", "g==", "AQ=="]
NOTE_SPICE = [
    bytes([char]) for char in range(256)
] + "\u2014 |\n\n|\n\u2014 |\u2028|\u00a0|\n|\n|\n|+| |=|==|\ud7ff|\U0010ffff|".encode().split(b"|")


def test_verifier_keys(go_says):
    """Verifier keys are accepted and refused alike."""
    rng = random.Random(1)
    keys = [Signer(name, seed).verifier_key for seed, name in enumerate(["a", "sum.example.test", "x/y", "é", "a b"])]
    raw = [b"", b"\x01", b"\x02" + bytes(32), b"\x01" + bytes(31), b"\x01" + bytes(33), b"\x01" + bytes(range(32))]
    keys += [f"n+{note.hash_of_key('n', key).hex()}+{base64(key)}" for key in raw]
    keys += [key.upper() for key in keys] + [key.replace("+", "", 1) for key in keys]

    def ours(key):
        verifier = note.parse_verifier(key)
        return [verifier.name, verifier.key_hash.hex()]

    questions = [(bent(rng, rng.choice(keys), KEY_SPICE),) for _ in range(6000)] + [(key,) for key in keys]
    assert differences(go_says, "verifier", ours, questions) == []


def notes(rng, count):
    """Notes of several signers, bent more often than not."""
    ours, others = Signer(), [Signer("other.example.test"), Signer(seed=2), Signer("a b"), Signer("é")]
    for _ in range(count):
        lines = rng.choices(["text", "", "more text", "— x", "\N{EM DASH} a AAAAAAA=", "世"], k=rng.randrange(4))
        text = "".join(f"{line}\n" for line in lines)
        below = [signer.line(text) for signer in rng.choices([ours, ours, *others], k=rng.choice([0, 1, 1, 1, 2, 3]))]
        if rng.random() < 0.1:
            below += [rng.choice([below[:1], [ours.line("")], [others[0].line(text)]]) or []][0] * rng.choice([1, 98])
        yield bent(rng, f"{text}\n{''.join(below)}".encode(), rng.choice([NOTE_SPICE, [b""]]))


def test_notes(go_says):
    """Notes are opened and refused alike, and for the same reason."""
    rng = random.Random(2)
    key = Signer().verifier_key
    verifier = note.parse_verifier(key)
    questions = [(key, base64(message)) for message in notes(rng, 25_000)]
    assert differences(go_says, "open", lambda _, data: [note.open_note(b64decode(data), verifier)], questions) == []


def test_trees(go_says):
    """Descriptions of trees are read and refused alike."""
    rng = random.Random(3)
    sizes = ["0", "1", "7", "00", "-1", "+1", "0x1", "1_0", "", str(2**63 - 1), str(2**63), "9" * 30, "٣", " 1"]
    hashes = [base64(bytes(n)) for n in (0, 31, 32, 32, 32, 33)] + [base64(bytes(32)).rstrip("="), "é", "A" * 43]
    texts = [f"go.sum database tree\n{size}\n{hash_}\n" for size in sizes for hash_ in hashes]
    spice = ["", "\n", "a", "0", "=", " ", "9", "-"]
    texts += [bent(rng, rng.choice(texts), spice) + rng.choice(["", "", "more\n", "x"]) for _ in range(8000)]

    def ours(text):
        found = tlog.parse_tree(text)
        return [str(found.size), base64(found.hash)]

    assert differences(go_says, "tree", ours, [(text,) for text in texts]) == []


def test_records(go_says):
    """Records are read and refused alike, but for numbers that no database writes: with a sign or zeros in front."""
    rng = random.Random(4)
    spice = [bytes([char]) for char in range(1, 256) if char not in b"+-0"] + [b"\n", b"\n\n", b"", b"\xc3\xa9"]
    whole = [b"7\na v1 h1:x\na v1/go.mod h1:y\n\nrest\n\nmore", b"12\n\n\n", b"3\na\n\n", b"9223372036854775807\nx\n\n"]
    data = [bent(rng, rng.choice(whole), spice) for _ in range(10_000)]

    def ours(encoded):
        found, rest = record.parse_lookup(b64decode(encoded))
        return [str(found.number), base64(found.text.encode()), base64(rest)]

    assert differences(go_says, "record", ours, [(base64(each),) for each in data]) == []


@pytest.mark.parametrize("first", [b"+7", b"-7", b"007", b"-0"])
def test_numbers_as_nobody_writes_them(go_says, first):
    """Go reads a record's number with a sign or zeros in front of it; here it is written as a tree's size is."""
    data = first + b"\na\n\n"
    assert go_says([["record", base64(data)]])[0]["ok"]
    with pytest.raises(VerificationFailed, match="malformed record data"):
        record.parse_lookup(data)


def test_tile_paths(go_says):
    """Paths of tiles are read and refused alike, and print as they were read."""
    rng = random.Random(5)
    spice = [*"0189x/.p", "", "data", "x000/", "/000", ".p/1", "-1", "+", "256", "255", "a"]
    paths = [
        *("tile/8/0/000", "tile/8/data/x001/234.p/5", "tile/1/63/000.p/1", "tile/30/1/999", "tile/31/0/000"),
        *("tile/8/0/x009/x223/x372/x036/x854/x775/807", "tile/8/0/x009/x223/x372/x036/x854/x775/808"),
        *("tile/8/9223372036854775807/000", "tile/8/9223372036854775808/000", "tile/30/0/000.p/1073741823"),
    ]
    for _ in range(4000):
        height = rng.randrange(1, 31)
        n = rng.choice([0, 5, 999, 1000, 1234067, rng.randrange(2**63)])
        width = rng.choice([1 << height, rng.randrange(1, (1 << height) + 1)])
        paths.append(tile.Tile(rng.randrange(-1, 64), n, width, height).path)
    questions = list(dict.fromkeys([*paths, *(bent(rng, rng.choice(paths), spice) for _ in range(16_000))]))

    def ours(path):
        found = tile.parse_tile_path(path)
        assert found.path == path
        return [str(number) for number in (found.height, found.level, found.n, found.width)]

    assert differences(go_says, "tile", ours, [(path,) for path in questions]) == []


# --------------------------------------------------------------------------------------------------------------- trees


def test_stored_hashes_are_numbered_alike(go_says):
    """Subtrees have the same stored hash index, it is split alike, and the same tile has it."""
    rng = random.Random(6)
    places = [(level, n) for level in range(8) for n in range(200)]
    places += [(rng.randrange(20), rng.randrange(2 ** rng.randrange(1, 40))) for _ in range(6000)]
    indexes = [*range(3000), *(rng.randrange(2 ** rng.randrange(1, 61)) for _ in range(6000))]
    heights = [(rng.randrange(1, 31), index) for index in indexes]
    split = lambda index: [str(part) for part in tlog.split_stored_hash_index(index)]  # noqa: E731
    assert differences(go_says, "stored", lambda *place: [str(tlog.stored_hash_index(*place))], places) == []
    assert differences(go_says, "split", split, [(index,) for index in indexes]) == []
    ours = lambda height, index: [tile.tile_for_index(index, height).path]  # noqa: E731
    assert differences(go_says, "for_index", ours, heights) == []


def test_tree_hashes(go_says, numbers):
    """Trees have the same hash, from nothing to thousands of records."""
    ours = lambda size: [base64(tlog.tree_hash(size, numbers.hashes))]  # noqa: E731
    assert differences(go_says, "hash", ours, [(size,) for size in range(LARGEST + 1)]) == []


def pairs(rng, count):
    """A size of a tree and a number up to about that."""
    yield from ((size, n) for size in range(40) for n in range(-1, size + 2))
    for _ in range(count):
        size = rng.randrange(LARGEST + 1)
        yield size, rng.randrange(size + 1)


@pytest.mark.parametrize("kind", ["record", "tree"])
def test_proofs(go_says, numbers, kind):
    """Proofs are the same, and made from the hashes that they say they need."""
    make, indexes_of = getattr(tlog, f"{kind}_proof"), getattr(tlog, f"{kind}_proof_indexes")

    def ours(*question):
        return [base64(each) for each in make(*question, {i: numbers.hashes[i] for i in indexes_of(*question)})]

    questions = list(pairs(random.Random(7), 8000))
    assert differences(go_says, f"prove_{kind}", ours, questions) == []


def tampered(rng, proof):
    """The proof, most often with one thing wrong."""
    proof, at = list(proof), rng.randrange(len(proof) + 1)
    match rng.randrange(6):
        case 0:
            proof[at:at] = [rng.choice([rng.randbytes(32), *proof])]
        case 1:
            del proof[at:]
        case 2:
            del proof[:at]
        case 3 if proof:
            proof[at - 1] = one_bit_off(rng, proof[at - 1])
        case 4:
            rng.shuffle(proof)
    return proof


def one_bit_off(rng, data):
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def claims(rng, numbers, kind, count):
    """Proofs with what they are to prove; any of it may be wrong."""
    make = getattr(tlog, f"{kind}_proof")
    for size, n in pairs(rng, count):
        try:
            proof = tampered(rng, make(size, n, numbers.hashes))
        except ValueError:
            proof = []
        known = tlog.record_hash(b"%d" % n) if kind == "record" else tlog.tree_hash(max(n, 0), numbers.hashes)
        claim = [size, tlog.tree_hash(size, numbers.hashes), n, known]
        if rng.random() < 0.3:
            at = rng.randrange(4)
            claim[at] = claim[at] + rng.choice([-1, 1]) if at in {0, 2} else one_bit_off(rng, claim[at])
        yield proof, *claim


@pytest.mark.parametrize("kind", ["record", "tree"])
def test_checks_of_proofs(go_says, numbers, kind):
    """Proofs, right and tampered with, are accepted and refused alike."""

    def ours(proof, size, tree_hash, n, known):
        given, tree = [b64decode(each) for each in proof], Tree(size, b64decode(tree_hash))
        if kind == "record":
            tlog.check_record_proof(given, tree, n, b64decode(known))
        else:
            tlog.check_tree_proof(given, tree, Tree(n, b64decode(known)))

    made = claims(random.Random(8), numbers, kind, 14_000)
    questions = [([base64(h) for h in proof], size, base64(th), n, base64(k)) for proof, size, th, n, k in made]
    assert differences(go_says, f"check_{kind}", checked(ours), questions) == []


def test_tiles(go_says, numbers):
    """The same tiles are needed, in the same order; with these, and with wrong ones, the verdict is the same."""
    rng = random.Random(9)
    questions = []
    for _ in range(14_000):
        size, height = rng.randrange(1, rng.choice([20, 300, LARGEST])), rng.choice([1, 2, 3, 4, 8, 8])
        stored = tlog.stored_hash_index(0, size)
        indexes = [rng.randrange(stored) for _ in range(rng.randrange(4))]
        needed = tile.tiles_needed(size, indexes, height)
        data = {each.path: numbers.tile(each) for each in needed}
        tree_hash, wrong = tlog.tree_hash(size, numbers.hashes), rng.choice(list(data))
        match rng.randrange(8):
            case 0:
                data[wrong] = data[wrong][: rng.randrange(len(data[wrong]))]
            case 1:
                tree_hash = one_bit_off(rng, tree_hash)
            case 2 | 3 | 4:
                data[wrong] = one_bit_off(rng, data[wrong])
        if rng.random() < 0.05:
            indexes.append(stored + rng.randrange(3))
        questions.append((size, tree_hash, indexes, height, data))

    def encoded(size, tree_hash, indexes, height, data):
        return "tiles", size, base64(tree_hash), indexes, height, {path: base64(each) for path, each in data.items()}

    found, yes = [], 0
    for question, answer in zip(questions, go_says(encoded(*question) for question in questions), strict=True):
        size, tree_hash, indexes, height, data = question
        values = answer["values"] or []
        try:
            needed = [each.path for each in tile.tiles_needed(size, indexes, height)]
            given = {tile.parse_tile_path(path): each for path, each in data.items()}
            hashes = tile.verify(Tree(size, tree_hash), indexes, given, height)
            said = True, [*needed, *(base64(hashes[index]) for index in indexes)]
        except ValueError:
            said = False, []
        except VerificationFailed:
            said = False, needed
        if said != (answer["ok"], values):
            found.append((question, said, answer))
        yes += answer["ok"]
    print(f"tiles: {len(questions)} compared, {yes} yes, {len(found)} differences")
    assert found == [] and yes > 3000


# ------------------------------------------------------------------------------------------------------------- lookups


def looked_up(key, latest, path, version, files):
    """What a client of our functions says, as Go's does: the lines, and the newest head."""
    verifier = note.parse_verifier(key)
    go_mod, bare = version.endswith("/go.mod"), ModuleVersion(path, version.removesuffix("/go.mod"))

    def fetch(where):
        if where not in files:
            raise VerificationFailed("not there")
        return b64decode(files[where])

    def fetch_tile(each):
        if each.path in files or each.complete.path not in files:
            return fetch(each.path)
        return fetch(each.complete.path)[: each.size]

    def proven(tree, indexes):
        return tile.verify(tree, indexes, {each: fetch_tile(each) for each in tile.tiles_needed(tree.size, indexes)})

    seen = head.open_head(b64decode(latest), verifier) if latest else head.NO_HEAD
    proven(seen.tree, [])  # Go's client asks once more for the tiles of the head that it kept.
    found, message = record.parse_lookup(fetch(record.lookup_path(bare)))
    older, newer = sorted([head.open_head(message, verifier), seen], key=lambda each: each.tree.size)
    head.check_timeline(older, newer, proven(newer.tree, head.timeline_indexes(older, newer)))
    included = proven(newer.tree, record.inclusion_indexes(found, newer.tree))
    record.check_included(found, newer.tree, included)
    return [*record.go_sum_lines(found, bare, go_mod=go_mod), base64(newer.message)]


def lookups(rng, count):
    """Lookups in databases of which something may be wrong."""
    for _ in range(count):
        honest = Database()
        honest.fill(rng.randrange(300))
        honest.add("example.com/Mod", "v1.2.3", "h1:zip=", "h1:mod=")
        honest.fill(rng.choice([len(honest.records), rng.randrange(600)]))
        size = len(honest.records)
        forked = honest.fork(rng.randrange(size), "forked\n")
        was, old = rng.choice([honest, forked]), rng.choice([0, rng.randrange(size + 1)])
        seen = was.head(old) if old else b""
        now = rng.choice([honest, honest, forked])
        now.published = rng.choice([None, None, rng.randrange(1, size + 1)])
        files = {"lookup/example.com/!mod@v1.2.3": rng.choice([now, now, honest]).lookup("example.com/Mod", "v1.2.3")}
        # Each head has its own tiles, but where both have a complete one.
        for teller, of in sorted([(was, old), (now, now.published or size)], key=lambda pair: pair[1]):
            for each in tile.tiles_needed(of, range(tlog.stored_hash_index(0, of))):
                files[each.path] = teller.tile(each)
        if rng.random() < 0.3:
            wrong = rng.choice(list(files))
            files[wrong] = one_bit_off(rng, files[wrong])
        version = rng.choice(["v1.2.3", "v1.2.3/go.mod"])
        encoded = {path: base64(data) for path, data in files.items()}
        yield now.signer.verifier_key, base64(seen), "example.com/Mod", version, encoded


def test_lookups(go_says):
    """A lookup gives the same lines, moves the newest head alike, and is refused alike; a fork's report is Go's."""
    questions = list(lookups(random.Random(10), 3000))
    answers = go_says(["lookup", *question] for question in questions)
    found, yes, forks = [], 0, 0
    for question, answer in zip(questions, answers, strict=True):
        is_fork = answer["reason"].startswith("SECURITY ERROR")
        try:
            said = True, looked_up(*question)
        except VerificationFailed as fault:
            said = False, str(fault) if is_fork else None
        if said != (answer["ok"], answer["values"] if answer["ok"] else answer["reason"] if is_fork else None):
            found.append((said, answer))
        yes, forks = yes + answer["ok"], forks + is_fork
    print(f"lookup: {len(questions)} compared, {yes} yes, {forks} forks, {len(found)} differences")
    assert found == [] and yes > 100 and forks > 50
