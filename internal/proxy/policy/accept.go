package policy

import (
	"bytes"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// The content codings that answers can be given, as in Content-Encoding.
const (
	Gzip = "gzip"
	Zstd = "zstd" // RFC 8878; smaller and quicker than gzip
)

// accepted is how much a client wants each coding, in thousandths; unsaid where its Accept-Encoding does not say.
type accepted struct {
	gzip, zstd, identity, other int
}

const unsaid = -1

// best gives the coding that the client wants most, zstd of equals, "" when it would rather have none (RFC 9110,
// section 12.5.3). "*" stands for gzip only: who has not heard of zstd may write it too.
func (a accepted) best() string {
	if a.gzip == unsaid {
		a.gzip = a.other
	}
	coding, q := Zstd, a.zstd
	if a.gzip > a.zstd {
		coding, q = Gzip, a.gzip
	}
	if q <= 0 || q < a.identity {
		return ""
	}
	return coding
}

// acceptedBy reads a request's Accept-Encoding fields. What cannot be read of them is left out.
func acceptedBy(fields []http1.Field) accepted {
	a := accepted{gzip: unsaid, zstd: unsaid, identity: unsaid, other: unsaid}
	for i := range fields {
		if fields[i].Kind == http1.AcceptEncoding {
			a.add(fields[i].Value)
		}
	}
	return a
}

func (a *accepted) add(list []byte) {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte{','})
		name, parameters, _ := bytes.Cut(item, []byte{';'})
		q, ok := weight(parameters)
		if !ok {
			continue
		}
		switch name = bytes.Trim(name, " \t"); {
		case foldEqual(name, Gzip), foldEqual(name, "x-gzip"):
			a.gzip = max(a.gzip, q)
		case foldEqual(name, Zstd):
			a.zstd = max(a.zstd, q)
		case foldEqual(name, "identity"):
			a.identity = max(a.identity, q)
		case string(name) == "*":
			a.other = max(a.other, q)
		}
	}
}

// weight reads "q=0.5" as 500 (RFC 9110, section 12.4.2); nothing is 1000.
func weight(parameters []byte) (q int, ok bool) {
	p := bytes.Trim(parameters, " \t")
	if len(p) == 0 {
		return 1000, true
	}
	if len(p) < 3 || len(p) > len("q=0.999") || p[0]|0x20 != 'q' || p[1] != '=' || p[2] != '0' && p[2] != '1' {
		return 0, false
	}
	if len(p) > 3 && p[3] != '.' {
		return 0, false
	}
	q = int(p[2]-'0') * 1000
	for i, unit := 4, 100; i < len(p); i, unit = i+1, unit/10 {
		if p[i] < '0' || p[i] > '9' {
			return 0, false
		}
		q += int(p[i]-'0') * unit
	}
	return q, q <= 1000
}

// foldEqual compares b with lower, which is ASCII in lower case, without regard to case.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
