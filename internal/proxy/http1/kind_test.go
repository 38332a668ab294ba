package http1

import (
	"strings"
	"testing"
)

func TestKindOf(t *testing.T) {
	for k := Other + 1; k < kinds; k++ {
		name := k.String()
		if name == "" || strings.ToLower(name) != name {
			t.Errorf("kind %d is called %q", k, name)
		}
		for _, same := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := KindOf([]byte(same)); got != k {
				t.Errorf("%s is %v, want %v", same, got, k)
			}
		}
		for i := range name {
			for c := range 256 {
				other := []byte(name)
				other[i] = byte(c)
				if got := KindOf(other); (got == k) != strings.EqualFold(string(other), name) || got != Other && got != k {
					t.Errorf("%q is %v", other, got)
				}
			}
		}
		for _, other := range []string{name[1:], name + "x", "x" + name, strings.ReplaceAll(name, "-", "_") + " "} {
			if got := KindOf([]byte(other)); got != Other && got.String() != other {
				t.Errorf("%q is %v", other, got)
			}
		}
	}
	for n := range 40 {
		if got := KindOf([]byte(strings.Repeat("\x00", n))); got != Other {
			t.Errorf("%d NULs are %v", n, got)
		}
	}
	if Kind(255).String() != "" || Other.String() != "" {
		t.Error("a name for what has none")
	}
}

// TestClasses compares the tables with the grammar, byte by byte.
func TestClasses(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		for _, want := range []struct {
			name string
			of   uint8
			is   bool
		}{
			{"tchar", inName, alnum || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0},
			{"target", inTarget, c >= 0x21 && c <= 0x7e && c != '#'},
			{"host", inHost, alnum || strings.IndexByte("-._~", c) >= 0},
			{"value", inValue, c == '\t' || c >= 0x20 && c <= 0x7e || c >= 0x80},
			{"hex", inHex, strings.IndexByte("0123456789abcdefABCDEF", c) >= 0},
		} {
			if got := class[c]&want.of != 0; got != want.is {
				t.Errorf("%s of %#x: %v", want.name, c, got)
			}
		}
	}
}

// TestValueEnd compares the search by words with one by bytes: each byte at each place of a text of other bytes.
func TestValueEnd(t *testing.T) {
	for _, fill := range []byte{' ', '\t', 'a', 0x7e, 0x80, 0xff} {
		for n := range 20 {
			for at := range n {
				for c := range 256 {
					b := []byte(strings.Repeat(string([]byte{fill}), n))
					b[at] = byte(c)
					for from := range 2 {
						want := from
						for want < n && class[b[want]]&inValue != 0 {
							want++
						}
						if from <= n && valueEnd(b[:n:n], from) != max(want, from) {
							t.Fatalf("%q from %d: %d, want %d", b, from, valueEnd(b, from), want)
						}
					}
				}
			}
		}
	}
}
