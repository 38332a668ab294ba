package http1

import "bytes"

// meaning is what the fields of a head say together, be it a request's or a response's.
type meaning struct {
	host, upgrade *Field // the last of each, nil for none
	hosts         int    // how many
	upgrades      int
	length        int64 // Content-Length, -1 for none
	chunked       bool
	close         bool // Connection says close
	keep          bool // Connection says keep-alive
	switches      bool // Connection says upgrade
	expect        bool // Expect is 100-continue
	trailers      bool // TE has trailers
}

// settle reads the fields that frame a message and those that Connection names; it marks the latter as hop-by-hop.
func settle(fields []Field, minor int) (meaning, error) {
	m := meaning{length: -1}
	codings, lengths, options := 0, 0, 0
	for i := range fields {
		f := &fields[i]
		switch f.Kind {
		case Host:
			m.host = f
			m.hosts++
		case ContentLength:
			if lengths++; lengths > 1 {
				return m, errLengths
			}
			if m.length = number(f.Value); m.length < 0 {
				return m, errLength
			}
		case TransferEncoding:
			if codings++; codings > 1 {
				return m, errCodings
			}
			if err := coding(f.Value, minor); err != nil {
				return m, err
			}
			m.chunked = true
		case Connection:
			options++
		case Upgrade:
			m.upgrade = f
			m.upgrades++
		case Expect:
			m.expect = m.expect || isFold(f.Value, "100-continue")
		case TE:
			m.trailers = m.trailers || hasTrailers(f.Value)
		case Trailer:
			if err := announced(f.Value); err != nil {
				return m, err
			}
		}
	}
	if m.chunked && lengths > 0 {
		return m, errCodingLength
	}
	if options == 0 {
		return m, nil
	}
	return m, m.connection(fields)
}

// coding checks Transfer-Encoding: chunked alone, and not before HTTP/1.1 (RFC 9112 section 6.1).
func coding(value []byte, minor int) error {
	switch {
	case minor == 0:
		return errCodingOld
	case len(value) == 0:
		return errNoCoding
	case !isFold(value, "chunked"):
		return errCoding
	}
	return nil
}

// number reads Content-Length: digits only (RFC 9110 section 8.6). It gives -1 for anything else, also a number past
// 2^63-1.
func number(b []byte) int64 {
	if len(b) == 0 {
		return -1
	}
	var n int64
	for _, c := range b {
		d := int64(c - '0')
		if c < '0' || c > '9' || n > (1<<63-1-d)/10 {
			return -1
		}
		n = n*10 + d
	}
	return n
}

// connection reads the options of all Connection fields (RFC 9110 section 7.6.1).
//
// What Connection names must be removed. A field that frames the message, says who asks, or otherwise is for the
// recipient at the end cannot be (section 7.6.1 forbids to name such): removing it would let a client take out what a
// proxy before this one put in, and keeping it breaks the rule, so the message is refused.
func (m *meaning) connection(fields []Field) error {
	nominated := 0
	for i := range fields {
		if fields[i].Kind != Connection {
			continue
		}
		for rest := fields[i].Value; rest != nil; {
			var option []byte
			if option, rest = element(rest); len(option) == 0 {
				continue // RFC 9110 section 5.6.1.2
			}
			switch k := KindOf(option); {
			case isFold(option, "close"):
				m.close = true
			case k == KeepAlive:
				m.keep = true
			case k == Upgrade:
				m.switches = true
			case k == Trailer || k == Other:
				if !isToken(option) {
					return errConnection
				}
				if isForwarded(option) {
					return errNominated
				}
				if nominated++; nominated > maxNominated {
					return errManyNominated
				}
				drop(fields, option)
			case !hops[k]:
				return errNominated
			}
		}
	}
	return nil
}

// isForwarded tells whether a name is one of the X-Forwarded fields, of which there are more than those of a Kind.
func isForwarded(name []byte) bool {
	const prefix = "x-forwarded-"
	return len(name) > len(prefix) && isFold(name[:len(prefix)], prefix)
}

// drop marks the fields of a name as hop-by-hop.
func drop(fields []Field, name []byte) {
	for i := range fields {
		if sameName(fields[i].Name, name) {
			fields[i].Hop = true
		}
	}
}

// element gives the first element of a list, which may be empty, and what follows its comma; nil when none does.
func element(list []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(list, []byte{','})
	return trimOWS(first), rest
}

// hasTrailers tells whether TE lists "trailers" (RFC 9110 section 10.1.4).
func hasTrailers(list []byte) bool {
	for list != nil {
		var coding []byte
		coding, list = element(list)
		if isFold(coding, "trailers") {
			return true
		}
	}
	return false
}

// announced checks Trailer: no field that frames the message may come after it (RFC 9110 section 6.5.1).
func announced(list []byte) error {
	for list != nil {
		var name []byte
		name, list = element(list)
		switch KindOf(name) {
		case ContentLength, TransferEncoding, Trailer:
			return errTrailerNames
		}
	}
	return nil
}

// closes tells whether the connection does not outlive the exchange (RFC 9112 section 9.3).
func (m *meaning) closes(minor int) bool { return m.close || minor == 0 && !m.keep }

// protocol gives the value of Upgrade when the message asks for another protocol (RFC 9110 section 7.8): Connection
// must name it, and the version be 1.1. With several Upgrade fields there is none: a recipient may ignore the wish, and
// the parts could not be passed on as one.
func (m *meaning) protocol(minor int) []byte {
	if !m.switches || m.upgrades != 1 || minor == 0 || len(m.upgrade.Value) == 0 {
		return nil
	}
	return m.upgrade.Value
}
