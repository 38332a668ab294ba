package policy

import (
	"bytes"
	"net/http"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// minEncoded is the length in bytes of an answer that is worth encoding: less fits a packet or two as it is.
const minEncoded = 1 << 10

// Encoding gives the content coding in which to send an answer, "" to pass it on as it is.
//
// An answer is encoded when the route compresses, the client accepts it, and the answer is text by its media type, has
// a body of 1 KiB or more or of unknown length, and is neither encoded already, nor a part of something, nor to be left
// alone (no-transform, or a digest of the body). Event streams are left alone too: they are small pieces that must not
// wait. So is everything while very many answers are being encoded.
//
// An encoded answer gets the field Content-Encoding with what this gives, each of its own fields goes through
// [EncodedField], and its length is not known beforehand. See also [Policy.Varies].
func (p *Policy) Encoding(r *http1.Request, res *http1.Response) string {
	if string(r.Method) == http.MethodHead || !p.Varies(res) || noTransform(r.Fields) || lent.Load() >= mostLent {
		return ""
	}
	return acceptedBy(r.Fields).best()
}

// Varies tells whether an answer would be encoded for a client that accepts it: then caches must be told so by
// "Vary: Accept-Encoding", also where Encoding gives "". An answer to HEAD varies as that to GET does.
func (p *Policy) Varies(res *http1.Response) bool {
	if !p.spec.Compress {
		return false
	}
	length := res.Length
	if length == 0 {
		length = res.Declared // HEAD's
	}
	switch {
	case length >= 0 && length < minEncoded, res.Status < 200, res.Status == http.StatusNoContent,
		res.Status == http.StatusResetContent, res.Status == http.StatusPartialContent,
		res.Status == http.StatusNotModified:
		return false
	}
	return encodable(res.Fields)
}

// encodable tells whether the fields of an answer let its body be encoded.
func encodable(fields []http1.Field) bool {
	text := false
	for i := range fields {
		switch f := &fields[i]; f.Kind {
		case http1.ContentEncoding, http1.ContentRange:
			return false
		case http1.ContentType:
			text = textual(f.Value)
		case http1.Other:
			if digested(f.Name) {
				return false
			}
		}
	}
	return text && !noTransform(fields)
}

// digested tells whether a field of the name vouches for the body as it is (RFC 9530, and those before it).
func digested(name []byte) bool {
	if len(name) == 0 || name[0]|0x20 != 'c' && name[0]|0x20 != 'r' && name[0]|0x20 != 'd' {
		return false
	}
	return foldEqual(name, "content-digest") || foldEqual(name, "repr-digest") || foldEqual(name, "digest") ||
		foldEqual(name, "content-md5")
}

// noTransform tells whether Cache-Control forbids to change the message (RFC 9111, sections 5.2.1.6 and 5.2.2.6).
func noTransform(fields []http1.Field) bool {
	for i := range fields {
		if fields[i].Kind != http1.CacheControl {
			continue
		}
		for directive := range bytes.SplitSeq(fields[i].Value, []byte{','}) {
			if foldEqual(bytes.Trim(directive, " \t"), "no-transform") {
				return true
			}
		}
	}
	return false
}

// longestType bounds how much of a media type is looked at.
const longestType = 64

// textual tells whether a media type, as in Content-Type, is one of text, which encoding makes several times smaller.
func textual(contentType []byte) bool {
	essence, _, _ := bytes.Cut(contentType, []byte{';'})
	essence = bytes.Trim(essence, " \t")
	if len(essence) > longestType {
		return false
	}
	var buf [longestType]byte
	lower := buf[:len(essence)]
	for i, c := range essence {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	switch string(lower) {
	case "text/event-stream":
		return false
	case "application/json", "application/javascript", "application/x-javascript", "application/ecmascript",
		"application/xml", "application/x-ndjson", "application/jsonlines", "application/graphql", "application/toml",
		"application/yaml", "application/sql", "application/rtf", "application/x-sh", "application/x-httpd-php",
		"application/wasm", "application/vnd.ms-fontobject", "application/x-font-ttf", "application/x-font-opentype",
		"font/ttf", "font/otf", "font/collection", "font/sfnt",
		"image/bmp", "image/x-icon", "image/vnd.microsoft.icon", "image/x-ms-bmp":
		return true
	}
	return bytes.HasPrefix(lower, []byte("text/")) || bytes.HasSuffix(lower, []byte("+json")) ||
		bytes.HasSuffix(lower, []byte("+xml")) || bytes.HasSuffix(lower, []byte("+text")) || bytes.HasSuffix(lower, []byte("+yaml"))
}

// EncodedField tells what becomes of a field of an answer that is sent encoded: whether it is kept, and what is then
// put before its value. Length and ranges were those of the body as it was. A strong ETag becomes a weak one, as it
// stands for other bytes now (RFC 9110, section 8.8.3.3).
func EncodedField(f http1.Field) (before string, keep bool) {
	switch f.Kind {
	case http1.ContentLength:
		return "", false
	case http1.ETag:
		if bytes.HasPrefix(f.Value, []byte{'"'}) {
			return "W/", true
		}
	case http1.Other:
		return "", !foldEqual(f.Name, "accept-ranges")
	}
	return "", true
}
