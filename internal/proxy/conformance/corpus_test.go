package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// attack is one case of the corpus: bytes that a client sends on one connection, and what a recipient that keeps
// strictly to the RFCs makes of them. testdata/smuggling/README has the format.
type attack struct {
	name, why string
	must      string    // "accept", "refuse" or "either"
	means     []request // the requests that it is, at most: what stands behind them is not one
	or        []request // the same in the normal form of RFC 3986, section 6.2.2
	sees      []field   // what the task must see of the first request, when it is forwarded
	lacks     []string  // names of fields that the task must not see
	open      bool      // the last request is not whole: no answer can be expected
	closes    bool      // the last answer ends the connection

	bytes []byte // HTTP/1.1

	h2       bool // instead of bytes: one HTTP/2 request
	fields   []field
	data     [][]byte // each a DATA frame
	trailers []field
}

// request is what a message means: RFC 9112, section 3, and the body without its framing.
type request struct{ method, target, body string }

func (r request) String() string {
	s := r.method + " " + r.target
	if len(r.body) > 60 {
		return fmt.Sprintf("%s %q… (%d bytes)", s, r.body[:60], len(r.body))
	}
	if r.body != "" {
		return fmt.Sprintf("%s %q", s, r.body)
	}
	return s
}

type field struct{ name, value string }

// corpus reads all of testdata/smuggling, in the order of the files' names.
func corpus(t *testing.T) []attack {
	t.Helper()
	files, err := filepath.Glob("testdata/smuggling/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []attack
	names := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut("\n"+strings.TrimSuffix(string(b), "\n"), "\n== ")
		for part := range strings.SplitSeq(text, "\n== ") {
			a, err := readAttack(part)
			if err != nil {
				t.Fatalf("%s: case %q: %v", file, a.name, err)
			}
			if names[a.name] {
				t.Fatalf("%s: case %q is there twice", file, a.name)
			}
			names[a.name] = true
			all = append(all, a)
		}
	}
	return all
}

func readAttack(text string) (attack, error) {
	head, bytes, ok := strings.Cut(text, "\n--\n")
	if !ok {
		if head, bytes, ok = strings.Cut(text, "\n--h2\n"); !ok {
			return attack{name: strings.SplitN(text, "\n", 2)[0]}, errors.New("no line -- or --h2")
		}
	}
	lines := strings.Split(head, "\n")
	a := attack{name: lines[0], h2: !strings.Contains(text, "\n--\n")}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, ":")
		if err := a.set(key, strings.TrimSpace(value)); err != nil {
			return a, err
		}
	}
	if a.why == "" || a.must == "" {
		return a, errors.New("no why or no must")
	}
	if a.h2 {
		return a, a.readFrames(bytes)
	}
	for line := range strings.SplitSeq(bytes, "\n") {
		b, err := unescape(line)
		if err != nil {
			return a, err
		}
		a.bytes = append(a.bytes, b...)
	}
	return a, nil
}

func (a *attack) set(key, value string) error {
	switch key {
	case "why":
		a.why = value
	case "must":
		if value != "accept" && value != "refuse" && value != "either" {
			return fmt.Errorf("must %q: want accept, refuse or either", value)
		}
		a.must = value
	case "means", "or":
		b, err := unescape(value + `\`)
		if err != nil {
			return err
		}
		parts := append(strings.SplitN(string(b), " ", 3), "", "")
		r := request{parts[0], parts[1], parts[2]}
		if key == "or" {
			a.or = append(a.or, r)
		} else {
			a.means = append(a.means, r)
		}
	case "sees":
		name, v, _ := strings.Cut(value, ":")
		a.sees = append(a.sees, field{name, strings.TrimSpace(v)})
	case "lacks":
		a.lacks = append(a.lacks, value)
	case "open":
		a.open = true
	case "closes":
		a.closes = true
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

// readFrames reads an HTTP/2 request: "name = value" for a field, "> text" for a DATA frame, and fields after those
// for the trailer section.
func (a *attack) readFrames(text string) error {
	for line := range strings.SplitSeq(text, "\n") {
		if body, ok := strings.CutPrefix(line, ">"); ok {
			b, err := unescape(strings.TrimPrefix(body, " ") + `\`)
			if err != nil {
				return err
			}
			a.data = append(a.data, b)
			continue
		}
		name, value, ok := strings.Cut(line, " =")
		if !ok {
			return fmt.Errorf("line %q: want name = value, or > data", line)
		}
		n, err := unescape(name + `\`)
		if err != nil {
			return err
		}
		v, err := unescape(strings.TrimPrefix(value, " ") + `\`)
		if err != nil {
			return err
		}
		if f := (field{string(n), string(v)}); len(a.data) > 0 {
			a.trailers = append(a.trailers, f)
		} else {
			a.fields = append(a.fields, f)
		}
	}
	return nil
}

// unescape gives the bytes of a line: with CRLF at the end, unless it ends with a backslash.
func unescape(line string) ([]byte, error) {
	end := "\r\n"
	if strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) {
		line, end = strings.TrimSuffix(line, `\`), ""
	}
	var bad error
	escapes := regexp.MustCompile(`\\(?:x[0-9a-f]{2}|\{\d+\*[^}]+\}|[rnts0\\])?`)
	out := escapes.ReplaceAllStringFunc(line, func(e string) string {
		switch {
		case e == `\s`:
			return " "
		case e == `\0`:
			return "\x00"
		case strings.HasPrefix(e, `\{`):
			n, text, _ := strings.Cut(e[2:len(e)-1], "*")
			times, err := strconv.Atoi(n)
			piece, err2 := unescape(text + `\`)
			bad = errors.Join(bad, err, err2)
			return strings.Repeat(string(piece), times)
		}
		s, err := strconv.Unquote(`"` + e + `"`)
		if err != nil {
			bad = fmt.Errorf("line %q: %q is no escape", line, e)
		}
		return s
	})
	return []byte(out + end), bad
}
