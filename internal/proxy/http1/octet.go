package http1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of; bits of class.
const (
	inName   = 1 << iota // tchar, RFC 9110 section 5.6.2
	inTarget             // a request target: visible ASCII but "#", see splitTarget
	inHost               // a registered name or an IPv4 address, see validHost
	inValue              // a field's value: visible, space, tab, or obs-text; RFC 9110 section 5.5
	inHex                // HEXDIG
)

// class has the bits of each byte.
var class = func() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit || c != 0 && isOneOf(c, "!#$%&'*+-.^_`|~") {
			t[i] |= inName
		}
		if c > ' ' && c < 0x7f && c != '#' {
			t[i] |= inTarget
		}
		if letter || digit || isOneOf(c, "-._~") {
			t[i] |= inHost
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[i] |= inValue
		}
		if digit || 'a' <= c|0x20 && c|0x20 <= 'f' {
			t[i] |= inHex
		}
	}
	return t
}()

// lower has the lower case of each byte that may be part of a name, 0 for the others.
var lower = func() (t [256]byte) {
	for i := range t {
		c := byte(i)
		if class[c]&inName == 0 {
			continue
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		t[i] = c
	}
	return t
}()

func isOneOf(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// isToken tells whether b is a token, RFC 9110 section 5.6.2.
func isToken(b []byte) bool {
	return len(b) > 0 && all(b, inName)
}

// all tells whether all bytes are of a class.
func all(b []byte, of uint8) bool {
	for _, c := range b {
		if class[c]&of == 0 {
			return false
		}
	}
	return true
}

// isFold tells whether b is word in any case; word is a token in lower case.
func isFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if lower[c] != word[i] {
			return false
		}
	}
	return true
}

// sameName tells whether two tokens are the same but for their case.
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower[c] != lower[b[i]] {
			return false
		}
	}
	return true
}

// trimOWS removes spaces and tabs at both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && isOWS(b[0]) {
		b = b[1:]
	}
	return trimRightOWS(b)
}

func trimRightOWS(b []byte) []byte {
	for len(b) > 0 && isOWS(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isOWS(c byte) bool { return c == ' ' || c == '\t' }

// valueEnd gives the offset of the first byte from i on that cannot be in a field's value, or len(b). It looks at eight
// bytes at a time; the arithmetic is that of "Bit Twiddling Hacks" (S. E. Anderson), "Determine if a word has a byte
// less than n". A byte that it marks wrongly is always behind one that it marks rightly, so the lowest mark counts.
func valueEnd(b []byte, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		control := ((x - ones*0x20) | ((x ^ ones*0x7f) - ones)) &^ x & high
		if control == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(control) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && class[b[i]]&inValue != 0 {
		i++
	}
	return i
}
