package meter

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Entry is one request as the access log has it.
type Entry struct {
	Time      time.Time // of its end
	ID        string
	Client    string // address
	Method    string
	Host      string
	Path      string // a query is left out: it may hold secrets
	Proto     string // "HTTP/1.1"
	UserAgent string
	Referer   string // without its query
	Leaf      *Leaf  // where it was booked; nil when no route matched
	Result    Result
}

// timeForm is RFC 3339 with milliseconds.
const timeForm = "2006-01-02T15:04:05.000Z07:00"

// The most bytes that a line has of one text: of a path or referer, and of everything else.
const (
	longestPath  = 2048
	longestField = 512
)

// append writes the entry as one line of JSON after b.
func (e *Entry) append(b []byte) []byte {
	r := &e.Result
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, timeForm)
	b = append(b, '"')
	b = appendText(b, `,"id":`, e.ID, longestField)
	b = appendText(b, `,"client":`, e.Client, longestField)
	b = appendText(b, `,"method":`, e.Method, longestField)
	b = appendText(b, `,"host":`, e.Host, longestField)
	b = appendText(b, `,"path":`, withoutQuery(e.Path), longestPath)
	b = appendText(b, `,"proto":`, e.Proto, longestField)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	b = strconv.AppendInt(append(b, `,"in":`...), r.In, 10)
	b = strconv.AppendInt(append(b, `,"out":`...), r.Out, 10)
	b = appendMillis(append(b, `,"wait_ms":`...), r.Wait)
	b = appendMillis(append(b, `,"total_ms":`...), r.Total)
	if e.Leaf != nil {
		b = append(b, e.Leaf.label...)
	}
	if r.Retries > 0 {
		b = strconv.AppendInt(append(b, `,"retries":`...), int64(r.Retries), 10)
	}
	b = appendText(b, `,"failure":`, r.kind().String(), longestField)
	b = appendText(b, `,"user_agent":`, e.UserAgent, longestField)
	b = appendText(b, `,"referer":`, withoutQuery(e.Referer), longestPath)
	return append(b, "}\n"...)
}

// label gives the part of a line that is the same for all requests of a source.
func label(s *Source) []byte {
	b := appendText(nil, `,"app":`, s.Env.App, longestField)
	b = appendText(b, `,"env":`, s.Env.Env, longestField)
	b = appendText(b, `,"service":`, s.Service, longestField)
	b = appendText(b, `,"route":`, s.Route, longestField)
	if s.Release != 0 {
		b = strconv.AppendUint(append(b, `,"release":`...), s.Release, 10)
	}
	return appendText(b, `,"task":`, s.Task, longestField)
}

// appendText appends a field, unless it is empty.
func appendText(b []byte, name, text string, most int) []byte {
	if text == "" {
		return b
	}
	return appendJSON(append(b, name...), cut(text, most))
}

// appendMillis appends milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// appendJSON appends a text as a JSON string (RFC 8259). Bytes that are no UTF-8 become U+FFFD, and DEL is escaped too:
// clients choose these texts, and people read the log on terminals.
func appendJSON(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, text[done:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, text[done:i]...), `\ufffd`...)
			done = i + 1
		case r < 0xa0: // the control characters of ISO 6429, which terminals obey as well
			b = append(append(b, text[done:i]...), '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			done = i + size
		}
		i += size
	}
	return append(append(b, text[done:]...), '"')
}

// cut shortens a text to at most n bytes, without leaving half a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// withoutQuery cuts a URL or its path before the query or fragment.
func withoutQuery(url string) string {
	for i := range len(url) {
		if url[i] == '?' || url[i] == '#' {
			return url[:i]
		}
	}
	return url
}
