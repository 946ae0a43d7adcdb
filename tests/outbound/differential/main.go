// What net/http says of proxies.  Reads {"environ": ["NAME=value"], "urls": [...]} from lines, and answers each with
// a list of what it says of each URL: a proxy's URL, "" or "error".
//
// net/http reads its environment once, so that each line is answered by a process of its own.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
)

type question struct {
	Environ []string `json:"environ"`
	URLs    []string `json:"urls"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		if len(os.Args) > 1 {
			answer(asked.URLs)
			continue
		}
		child := exec.Command(os.Args[0], "child")
		child.Env = asked.Environ
		child.Stdin = bytes.NewReader(append(lines.Bytes(), '\n'))
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Run(); err != nil {
			panic(err)
		}
	}
}

func answer(urls []string) {
	said := []string{}
	for _, url := range urls {
		text := "error"
		if request, err := http.NewRequest("GET", url, nil); err == nil {
			if proxy, err := http.ProxyFromEnvironment(request); err == nil {
				text = ""
				if proxy != nil {
					text = proxy.String()
				}
			}
		}
		said = append(said, text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}
