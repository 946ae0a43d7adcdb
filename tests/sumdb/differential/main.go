// Command differential answers questions about signed notes, trees, tiles and lookups with the verdicts of
// golang.org/x/mod/sumdb.
//
// It reads one JSON array a line, the operation first, and writes one JSON object a line: whether the answer is yes, the
// values, and the reason when it is no.  Hashes and other bytes are base64.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type answer struct {
	OK     bool     `json:"ok"`
	Values []string `json:"values"`
	Reason string   `json:"reason"`
}

func verdict(err error, values ...string) answer {
	if err != nil {
		return answer{Reason: err.Error()}
	}
	return answer{OK: true, Values: values}
}

var operations = map[string]func(raw []json.RawMessage) answer{
	"verifier":     verifier,
	"open":         open,
	"tree":         tree,
	"record":       record,
	"tile":         tile,
	"stored":       stored,
	"split":        split,
	"for_index":    forIndex,
	"hash":         treeHash,
	"prove_record": proveRecord,
	"prove_tree":   proveTree,
	"check_record": checkRecord,
	"check_tree":   checkTree,
	"tiles":        tiles,
	"lookup":       lookup,
}

func take(raw []json.RawMessage, into ...any) {
	for i, target := range into {
		if err := json.Unmarshal(raw[i], target); err != nil {
			log.Fatal(err)
		}
	}
}

func encoded(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func hashOf(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return h
}

func hashesOf(list [][]byte) (hashes []tlog.Hash) {
	for _, data := range list {
		hashes = append(hashes, hashOf(data))
	}
	return hashes
}

func hashes(err error, list []tlog.Hash) answer {
	values := []string{}
	for _, h := range list {
		values = append(values, h.String())
	}
	return verdict(err, values...)
}

// ------------------------------------------------------------------------------------------------------------- texts

func verifier(raw []json.RawMessage) answer {
	var key string
	take(raw, &key)
	v, err := note.NewVerifier(key)
	if err != nil {
		return verdict(err)
	}
	return verdict(nil, v.Name(), fmt.Sprintf("%08x", v.KeyHash()))
}

func open(raw []json.RawMessage) answer {
	var key string
	var message []byte
	take(raw, &key, &message)
	v, err := note.NewVerifier(key)
	if err != nil {
		log.Fatal(err)
	}
	n, err := note.Open(message, note.VerifierList(v))
	if err != nil {
		return verdict(err)
	}
	return verdict(nil, n.Text)
}

func tree(raw []json.RawMessage) answer {
	var text string
	take(raw, &text)
	t, err := tlog.ParseTree([]byte(text))
	return verdict(err, fmt.Sprint(t.N), t.Hash.String())
}

func record(raw []json.RawMessage) answer {
	var data []byte
	take(raw, &data)
	id, text, rest, err := tlog.ParseRecord(data)
	return verdict(err, fmt.Sprint(id), encoded(text), encoded(rest))
}

func tile(raw []json.RawMessage) answer {
	var path string
	take(raw, &path)
	t, err := tlog.ParseTilePath(path)
	return verdict(err, fmt.Sprint(t.H), fmt.Sprint(t.L), fmt.Sprint(t.N), fmt.Sprint(t.W))
}

// ------------------------------------------------------------------------------------------------------------- trees

// A log whose n'th record is the number n in decimal.
var known []tlog.Hash

func read(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, known[index])
	}
	return found, nil
}

func grow(n int64) tlog.HashReader {
	reader := tlog.HashReaderFunc(read)
	for have := int64(0); have < n; have++ {
		if int64(len(known)) > tlog.StoredHashIndex(0, have) {
			continue
		}
		more, err := tlog.StoredHashes(have, fmt.Append(nil, have), reader)
		if err != nil {
			log.Fatal(err)
		}
		known = append(known, more...)
	}
	return reader
}

func stored(raw []json.RawMessage) answer {
	var level int
	var n int64
	take(raw, &level, &n)
	return verdict(nil, fmt.Sprint(tlog.StoredHashIndex(level, n)))
}

func split(raw []json.RawMessage) answer {
	var index int64
	take(raw, &index)
	level, n := tlog.SplitStoredHashIndex(index)
	return verdict(nil, fmt.Sprint(level), fmt.Sprint(n))
}

func forIndex(raw []json.RawMessage) answer {
	var height int
	var index int64
	take(raw, &height, &index)
	return verdict(nil, tlog.TileForIndex(height, index).Path())
}

func treeHash(raw []json.RawMessage) answer {
	var size int64
	take(raw, &size)
	h, err := tlog.TreeHash(size, grow(size))
	return verdict(err, h.String())
}

func proveRecord(raw []json.RawMessage) answer {
	var size, n int64
	take(raw, &size, &n)
	proof, err := tlog.ProveRecord(size, n, grow(size))
	return hashes(err, proof)
}

func proveTree(raw []json.RawMessage) answer {
	var size, older int64
	take(raw, &size, &older)
	proof, err := tlog.ProveTree(size, older, grow(size))
	return hashes(err, proof)
}

func checkRecord(raw []json.RawMessage) answer {
	var proof [][]byte
	var size, n int64
	var hash, leaf []byte
	take(raw, &proof, &size, &hash, &n, &leaf)
	return verdict(tlog.CheckRecord(hashesOf(proof), size, hashOf(hash), n, hashOf(leaf)))
}

func checkTree(raw []json.RawMessage) answer {
	var proof [][]byte
	var size, older int64
	var hash, olderHash []byte
	take(raw, &proof, &size, &hash, &older, &olderHash)
	return verdict(tlog.CheckTree(hashesOf(proof), size, hashOf(hash), older, hashOf(olderHash)))
}

// ------------------------------------------------------------------------------------------------------------- tiles

// given has the tiles of a question, and notes which were asked for.
type given struct {
	height int
	data   map[string][]byte
	asked  []string
}

func (g *given) Height() int { return g.height }

func (g *given) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, t := range tiles {
		g.asked = append(g.asked, t.Path())
		found = append(found, g.data[t.Path()])
	}
	return found, nil
}

func (g *given) SaveTiles([]tlog.Tile, [][]byte) {}

// tiles answers with the tiles that were needed and, when they are right, the hashes; the reason is behind both.
func tiles(raw []json.RawMessage) answer {
	var size int64
	var hash []byte
	var indexes []int64
	g := &given{}
	take(raw, &size, &hash, &indexes, &g.height, &g.data)
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: hashOf(hash)}, g)
	found, err := reader.ReadHashes(indexes)
	said := hashes(err, found)
	said.Values = append(g.asked, said.Values...)
	return said
}

// ------------------------------------------------------------------------------------------------------------ lookups

// world is all that a client sees.
type world struct {
	key    string
	latest []byte
	files  map[string][]byte
	error  string
}

func (w *world) ReadRemote(path string) ([]byte, error) {
	data, ok := w.files[path[1:]]
	if !ok {
		return nil, errors.New("not there")
	}
	return data, nil
}

func (w *world) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(w.key), nil
	}
	return w.latest, nil
}

func (w *world) WriteConfig(file string, old, new []byte) error {
	w.latest = new
	return nil
}

func (w *world) ReadCache(string) ([]byte, error) { return nil, errors.New("nothing is kept") }
func (w *world) WriteCache(string, []byte)        {}
func (w *world) Log(string)                       {}
func (w *world) SecurityError(text string)        { w.error = text }

// lookup answers with the lines for go.sum and the newest head; the reason is the security error if there was one.
func lookup(raw []json.RawMessage) answer {
	w := &world{}
	var path, version string
	take(raw, &w.key, &w.latest, &path, &version, &w.files)
	lines, err := sumdb.NewClient(w).Lookup(path, version)
	if w.error != "" {
		return answer{Reason: w.error}
	}
	return verdict(err, append(lines, encoded(w.latest))...)
}

func main() {
	decoder := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	buffered := bufio.NewWriter(os.Stdout)
	out := json.NewEncoder(buffered)
	for {
		var question []json.RawMessage
		if err := decoder.Decode(&question); err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		var operation string
		take(question, &operation)
		if err := out.Encode(operations[operation](question[1:])); err != nil {
			log.Fatal(err)
		}
	}
	if err := buffered.Flush(); err != nil {
		log.Fatal(err)
	}
}
