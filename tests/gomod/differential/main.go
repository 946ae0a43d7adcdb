// Command differential answers questions about module paths, versions and zips with the verdicts of golang.org/x/mod.
//
// It reads one JSON array of strings a line, the operation first, and writes one JSON object a line: whether the answer
// is yes, the values, and the reason when it is no.
package main

import (
	"archive/zip"
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"
	"unicode"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
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

var operations = map[string]func(args []string) answer{
	"check_path":       func(args []string) answer { return verdict(module.CheckPath(args[0])) },
	"check_file":       func(args []string) answer { return verdict(module.CheckFilePath(args[0])) },
	"split":            split,
	"escape_path":      func(args []string) answer { return one(module.EscapePath(args[0])) },
	"unescape_path":    func(args []string) answer { return one(module.UnescapePath(args[0])) },
	"escape_version":   func(args []string) answer { return one(module.EscapeVersion(args[0])) },
	"unescape_version": func(args []string) answer { return one(module.UnescapeVersion(args[0])) },
	"is_valid":         func(args []string) answer { return answer{OK: semver.IsValid(args[0])} },
	"canonical":        func(args []string) answer { return one(module.CanonicalVersion(args[0]), nil) },
	"is_pseudo":        func(args []string) answer { return answer{OK: module.IsPseudoVersion(args[0])} },
	"is_prerelease":    func(args []string) answer { return answer{OK: semver.Prerelease(args[0]) != ""} },
	"pseudo_time":      pseudoTime,
	"check":            func(args []string) answer { return verdict(module.Check(args[0], args[1])) },
	"compare":          func(args []string) answer { return one(fmt.Sprint(semver.Compare(args[0], args[1])), nil) },
	"sort":             sorted,
	"matches":          func(args []string) answer { return answer{OK: module.MatchPrefixPatterns(args[0], args[1])} },
	"json_time":        jsonTime,
	"fold":             fold,
	"zip":              checkZip,
}

func one(value string, err error) answer { return verdict(err, value) }

func split(args []string) answer {
	prefix, major, ok := module.SplitPathVersion(args[0])
	return answer{OK: ok, Values: []string{prefix, major}}
}

func pseudoTime(args []string) answer {
	t, err := module.PseudoVersionTime(args[0])
	return verdict(err, t.UTC().Format(time.RFC3339))
}

func sorted(args []string) answer {
	semver.Sort(args)
	return answer{OK: true, Values: args}
}

func jsonTime(args []string) answer {
	quoted, _ := json.Marshal(args[0])
	var t time.Time
	err := json.Unmarshal(quoted, &t)
	return verdict(err, t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano))
}

// fold answers, for each character, with the least one that is equal to it but for case.
func fold(args []string) answer {
	var least []rune
	for _, r := range args[0] {
		low := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			low = min(low, next)
		}
		least = append(least, low)
	}
	return answer{OK: true, Values: []string{string(least)}}
}

// checkZip answers with the hash of a zip that is legal and whose every member can be read, and with its go.mod.
func checkZip(args []string) answer {
	version := module.Version{Path: args[0], Version: args[1]}
	if _, err := modzip.CheckZip(version, args[2]); err != nil {
		return verdict(err)
	}
	hash, err := dirhash.HashZip(args[2], dirhash.Hash1)
	if err != nil {
		return verdict(err)
	}
	goMod, err := member(args[2], version.String()+"/go.mod")
	return verdict(err, hash, goMod)
}

func member(file, name string) (string, error) {
	reader, err := zip.OpenReader(file)
	if err != nil {
		return "", err
	}
	defer reader.Close()
	for _, f := range reader.File {
		if f.Name == name {
			r, err := f.Open()
			if err != nil {
				return "", err
			}
			data, err := io.ReadAll(r)
			return string(data), err
		}
	}
	return "", nil
}

func main() {
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	for {
		var question []string
		if err := decoder.Decode(&question); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(operations[question[0]](question[1:])); err != nil {
			log.Fatal(err)
		}
	}
}
