package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// requestCase is a head and what it means, or why it is refused.
type requestCase struct {
	name string // with the section of RFC 9112, or of RFC 9110 where it says so
	head string
	want string // see describeRequest
	err  *Error // then want counts for nothing
}

// get is a valid request but for the lines that are put in.
func get(lines string) string { return "GET / HTTP/1.1\r\nHost: a.b\r\n" + lines + "\r\n" }

// requested is a request line with what it needs behind it.
func requested(line string) string { return line + "\r\nHost: a.b\r\n\r\n" }

var requestCases = []requestCase{
	// The request line.
	{name: "3 origin form", head: requested("GET /x/y?z=1&w HTTP/1.1"), want: "GET /x/y ?z=1&w @a.b"},
	{name: "3 any method", head: requested("PURGE~! / HTTP/1.1"), want: "PURGE~! / @a.b"},
	{name: "3 methods have a case", head: requested("get / HTTP/1.1"), want: "get / @a.b"},
	{name: "3 empty query", head: requested("GET /? HTTP/1.1"), want: "GET / ? @a.b"},
	{name: "3 question mark in the query", head: requested("GET /a?b?c HTTP/1.1"), want: "GET /a ?b?c @a.b"},
	{name: "3 two slashes are no authority", head: requested("GET //c.d/e HTTP/1.1"), want: "GET //c.d/e @a.b"},
	{name: "3 bytes that browsers send", head: requested(`GET /a|b{c}"<>\^?d=` + "`" + `{|} HTTP/1.1`), want: `GET /a|b{c}"<>\^ ?d=` + "`" + `{|} @a.b`},
	{name: "3 escapes stay", head: requested("GET /%41%2f?%41 HTTP/1.1"), want: "GET /%41%2f ?%41 @a.b"},
	{name: "3 stray percent in the query", head: requested("GET /?a=100% HTTP/1.1"), want: "GET / ?a=100% @a.b"},
	{name: "3 longest line", head: requested("GET /" + strings.Repeat("a", MaxLine-len("GET / HTTP/1.1")) + " HTTP/1.1"), want: "GET /" + strings.Repeat("a", MaxLine-len("GET / HTTP/1.1")) + " @a.b"},
	{name: "3 line too long", head: requested("GET /" + strings.Repeat("a", MaxLine+1-len("GET / HTTP/1.1")) + " HTTP/1.1"), err: errLineLong},
	{name: "3 line without end too long", head: "GET /" + strings.Repeat("a", MaxLine), err: errLineLong},
	{name: "2.2 blank line before", head: "\r\n" + requested("GET / HTTP/1.1"), want: "GET / @a.b"},
	{name: "2.2 two blank lines before", head: "\r\n\r\n" + requested("GET / HTTP/1.1"), err: errMethod},
	{name: "2.2 bare LF before", head: "\n" + requested("GET / HTTP/1.1"), err: errMethod},
	{name: "2.2 bare CR before", head: "\r" + requested("GET / HTTP/1.1"), err: errLeadingReturn},
	{name: "2.2 space before", head: " " + requested("GET / HTTP/1.1"), err: errMethod},
	{name: "2.2 line ends with LF", head: "GET / HTTP/1.1\nHost: a.b\r\n\r\n", err: errBareLF},
	{name: "2.2 bare CR in the line", head: requested("GET /\r HTTP/1.1"), err: errTargetByte},
	{name: "2.2 CR before the line's end", head: requested("GET / HTTP/1.1\r"), err: errRequestLine},
	{name: "3 TLS", head: "\x16\x03\x01", err: errMethod},
	{name: "3 colon in the method", head: requested("GET: / HTTP/1.1"), err: errMethod},
	{name: "3 NUL in the method", head: requested("GE\x00T / HTTP/1.1"), err: errMethod},
	{name: "3 method of obs-text", head: requested("GE\xc3T / HTTP/1.1"), err: errMethod},
	{name: "3 no method", head: requested("/ HTTP/1.1"), err: errMethod},
	{name: "3 no target", head: requested("GET HTTP/1.1"), err: errRequestLine},
	{name: "3 empty target", head: requested("GET  HTTP/1.1"), err: errRequestLine},
	{name: "3 method alone", head: requested("GET"), err: errRequestLine},
	{name: "3 two spaces before the target", head: requested("GET  / HTTP/1.1"), err: errRequestLine},
	{name: "3 two spaces behind the target", head: requested("GET /  HTTP/1.1"), err: errRequestLine},
	{name: "3 tab for a space", head: requested("GET\t/ HTTP/1.1"), err: errMethod},
	{name: "3 tab in the target", head: requested("GET /\t HTTP/1.1"), err: errTargetByte},
	{name: "3 space in the target", head: requested("GET /a b HTTP/1.1"), err: errRequestLine},
	{name: "3 space at the end", head: requested("GET / HTTP/1.1 "), err: errRequestLine},
	{name: "3 two requests on a line", head: requested("GET / HTTP/1.1 GET /b HTTP/1.1"), err: errRequestLine},

	// The version.
	{name: "2.3 HTTP/1.0", head: requested("GET / HTTP/1.0"), want: "GET / @a.b 1.0 close"},
	{name: "2.3 HTTP/1.2", head: requested("GET / HTTP/1.2"), err: errVersion},
	{name: "2.3 HTTP/2.0", head: requested("GET / HTTP/2.0"), err: errVersion},
	{name: "2.3 preface of HTTP/2", head: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", err: errVersion},
	{name: "2.3 HTTP/0.9", head: "GET /\r\n", err: errRequestLine},
	{name: "2.3 version of two digits", head: requested("GET / HTTP/1.10"), err: errRequestLine},
	{name: "2.3 version with zeros", head: requested("GET / HTTP/01.1"), err: errRequestLine},
	{name: "2.3 version in lower case", head: requested("GET / http/1.1"), err: errRequestLine},
	{name: "2.3 no digit", head: requested("GET / HTTP/1.x"), err: errRequestLine},
	{name: "2.3 another protocol", head: requested("GET / ICY/1.1"), err: errRequestLine},

	// The target.
	{name: "3.2 NUL", head: requested("GET /\x00 HTTP/1.1"), err: errTargetByte},
	{name: "3.2 DEL", head: requested("GET /\x7f HTTP/1.1"), err: errTargetByte},
	{name: "3.2 obs-text", head: requested("GET /\xc3\xa9 HTTP/1.1"), err: errTargetByte},
	{name: "3.2 fragment", head: requested("GET /a#b HTTP/1.1"), err: errTargetByte},
	{name: "3.2 escape of no digits", head: requested("GET /%zz HTTP/1.1"), err: errTargetEscape},
	{name: "3.2 escape cut off", head: requested("GET /%4 HTTP/1.1"), err: errTargetEscape},
	{name: "3.2 escape cut off by the query", head: requested("GET /%?41 HTTP/1.1"), err: errTargetEscape},
	{name: "3.2 escaped NUL", head: requested("GET /a%00b HTTP/1.1"), err: errTargetEscape},
	{name: "3.2.1 no slash", head: requested("GET a HTTP/1.1"), err: errTargetForm},
	{name: "3.2.1 query alone", head: requested("GET ?a HTTP/1.1"), err: errTargetForm},
	{name: "3.2.2 absolute form wins over Host", head: requested("GET http://c.d:81/x?y HTTP/1.1"), want: "GET /x ?y @c.d:81 http"},
	{name: "3.2.2 scheme in any case", head: requested("GET HTTPs://c.d/ HTTP/1.1"), want: "GET / @c.d https"},
	{name: "3.2.1 absolute form without path", head: requested("GET http://c.d HTTP/1.1"), want: "GET / @c.d http"},
	{name: "3.2.1 absolute form, query alone", head: requested("GET http://c.d?x/y HTTP/1.1"), want: "GET / ?x/y @c.d http"},
	{name: "3.2.4 OPTIONS, absolute form without path", head: requested("OPTIONS http://c.d HTTP/1.1"), want: "OPTIONS * @c.d http"},
	{name: "3.2.2 absolute form in HTTP/1.0 without Host", head: "GET http://c.d/ HTTP/1.0\r\n\r\n", want: "GET / @c.d http 1.0 close"},
	{name: "3.2.2 absolute form needs Host too", head: "GET http://c.d/ HTTP/1.1\r\n\r\n", err: errHostMissing},
	{name: "3.2.2 absolute form of IPv6", head: requested("GET http://[2001:db8::1]:8080/ HTTP/1.1"), want: "GET / @[2001:db8::1]:8080 http"},
	{name: "3.2.2 escape in the absolute form", head: requested("GET http://c.d/%zz HTTP/1.1"), err: errTargetEscape},
	{name: "3.2.2 another scheme", head: requested("GET ftp://c.d/ HTTP/1.1"), err: errTargetScheme},
	{name: "3.2.2 scheme alone", head: requested("GET http: HTTP/1.1"), err: errTargetForm},
	{name: "3.2.2 one slash", head: requested("GET http:/c.d/ HTTP/1.1"), err: errTargetForm},
	{name: "9110 4.2.1 empty authority", head: requested("GET http:///x HTTP/1.1"), err: errAuthority},
	{name: "9110 4.2.1 port alone", head: requested("GET http://:80/x HTTP/1.1"), err: errAuthority},
	{name: "9110 4.2.4 user in the authority", head: requested("GET http://u:p@c.d/ HTTP/1.1"), err: errAuthority},
	{name: "3.2.3 CONNECT", head: requested("CONNECT c.d:443 HTTP/1.1"), want: "CONNECT - @c.d:443"},
	{name: "3.2.3 CONNECT without port", head: requested("CONNECT c.d HTTP/1.1"), err: errAuthority},
	{name: "3.2.3 CONNECT with empty port", head: requested("CONNECT c.d: HTTP/1.1"), err: errAuthority},
	{name: "3.2.3 CONNECT with a path", head: requested("CONNECT /x HTTP/1.1"), err: errAuthority},
	{name: "3.2.3 CONNECT with a URI", head: requested("CONNECT http://c.d:80/ HTTP/1.1"), err: errAuthority},
	{name: "3.2.3 authority form for GET", head: requested("GET c.d:443 HTTP/1.1"), err: errTargetForm},
	{name: "3.2.4 asterisk form", head: requested("OPTIONS * HTTP/1.1"), want: "OPTIONS * @a.b"},
	{name: "3.2.4 asterisk form for GET", head: requested("GET * HTTP/1.1"), err: errTargetForm},
	{name: "3.2.4 asterisk with more", head: requested("OPTIONS *?a HTTP/1.1"), err: errTargetForm},

	// Host.
	{name: "3.2 HTTP/1.0 without Host", head: "GET / HTTP/1.0\r\n\r\n", want: "GET / 1.0 close"},
	{name: "3.2 no Host", head: "GET / HTTP/1.1\r\n\r\n", err: errHostMissing},
	{name: "3.2 two Hosts", head: get("Host: c.d\r\n"), err: errHosts},
	{name: "3.2 the same Host twice", head: get("host: a.b\r\n"), err: errHosts},
	{name: "3.2 two Hosts in HTTP/1.0", head: "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", err: errHosts},
	{name: "9110 4.2.1 empty Host", head: "GET / HTTP/1.1\r\nHost:\r\n\r\n", err: errHost},
	{name: "3.2 Host with port", head: "GET / HTTP/1.1\r\nHost: A_b-1.~:08080\r\n\r\n", want: "GET / @A_b-1.~:08080"},
	{name: "3.2 Host with empty port", head: "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", want: "GET / @a:"},
	{name: "3.2 Host of IPv4", head: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", want: "GET / @127.0.0.1"},
	{name: "3.2 Host of IPv6", head: "GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]:80\r\n\r\n", want: "GET / @[::ffff:1.2.3.4]:80"},

	// Field lines.
	{name: "5 no space behind the colon, much around the value", head: get("A:b\r\nC: \t d \t \r\nE:\r\nF:  \r\n"), want: "GET / @a.b"},
	{name: "5 name alone", head: get("A\r\n"), err: errNoColon},
	{name: "5 empty name", head: get(": a\r\n"), err: errEmptyName},
	{name: "5.1 space before the colon", head: get("A : b\r\n"), err: errNameSpace},
	{name: "5.1 tab before the colon", head: get("A\t: b\r\n"), err: errNameSpace},
	{name: "5.1 space in the name", head: get("A b: c\r\n"), err: errNameSpace},
	{name: "5.1 space before the colon of a length", head: get("Content-Length : 1\r\n"), err: errNameSpace},
	{name: "5.2 folded by a space", head: get("A: b\r\n c\r\n"), err: errFolded},
	{name: "5.2 folded by a tab", head: get("A: b\r\n\tc\r\n"), err: errFolded},
	{name: "5.2 folded before the first field", head: "GET / HTTP/1.1\r\n Host: a.b\r\n\r\n", err: errFolded},
	{name: "2.2 field ends with LF", head: get("A: b\n"), err: errBareLF},
	{name: "2.2 name ends with LF", head: get("A\n"), err: errNoColon},
	{name: "2.2 bare CR in a value", head: get("A: b\rc\r\n"), err: errBareCR},
	{name: "2.2 two CR", head: get("A: b\r\r\n"), err: errBareCR},
	{name: "2.2 last line is LF", head: "GET / HTTP/1.1\r\nHost: a.b\r\n\n", err: errBareLF},
	{name: "2.2 last line is CR and more", head: "GET / HTTP/1.1\r\nHost: a.b\r\n\rX", err: errBareCR},
	{name: "9110 5.1 name of obs-text", head: get("\xc3: b\r\n"), err: errNameByte},
	{name: "9110 5.1 NUL in the name", head: get("A\x00: b\r\n"), err: errNameByte},
	{name: "9110 5.1 separator in the name", head: get("A(: b\r\n"), err: errNameByte},
	{name: "9110 5.5 obs-text", head: get("A: \x80\xff\r\n"), want: "GET / @a.b"},
	{name: "9110 5.5 tab in the value", head: get("A: b\tc\r\n"), want: "GET / @a.b"},
	{name: "9110 5.5 NUL", head: get("A: b\x00c\r\n"), err: errValueByte},
	{name: "9110 5.5 control", head: get("A: 0123456\x1fc\r\n"), err: errValueByte},
	{name: "9110 5.5 DEL", head: get("A: 01234567\x7f\r\n"), err: errValueByte},
	{name: "5 most fields", head: get(strings.Repeat("A: b\r\n", MaxFields-1)), want: "GET / @a.b"},
	{name: "5 too many fields", head: get(strings.Repeat("A: b\r\n", MaxFields)), err: errManyFields},

	// Framing.
	{name: "6.2 length", head: get("content-LENGTH: 42\r\n"), want: "GET / @a.b length=42"},
	{name: "6.2 length zero", head: get("Content-Length: 0\r\n"), want: "GET / @a.b"},
	{name: "6.2 length with zeros", head: get("Content-Length: 007\r\n"), want: "GET / @a.b length=7"},
	{name: "6.2 greatest length", head: get("Content-Length: 9223372036854775807\r\n"), want: "GET / @a.b length=9223372036854775807"},
	{name: "6.3 length too great", head: get("Content-Length: 9223372036854775808\r\n"), err: errLength},
	{name: "6.3 length far too great", head: get("Content-Length: 100000000000000000000\r\n"), err: errLength},
	{name: "6.3 empty length", head: get("Content-Length: \r\n"), err: errLength},
	{name: "6.3 plus", head: get("Content-Length: +1\r\n"), err: errLength},
	{name: "6.3 minus", head: get("Content-Length: -1\r\n"), err: errLength},
	{name: "6.3 hexadecimal", head: get("Content-Length: 0x1\r\n"), err: errLength},
	{name: "6.3 fraction", head: get("Content-Length: 1.0\r\n"), err: errLength},
	{name: "6.3 space in the length", head: get("Content-Length: 1 2\r\n"), err: errLength},
	{name: "6.3 list of lengths", head: get("Content-Length: 1, 1\r\n"), err: errLength},
	{name: "6.3 length with a comma", head: get("Content-Length: 1,\r\n"), err: errLength},
	{name: "6.3 two lengths", head: get("Content-Length: 1\r\nContent-Length: 2\r\n"), err: errLengths},
	{name: "6.3 the same length twice", head: get("Content-Length: 1\r\nContent-Length: 1\r\n"), err: errLengths},
	{name: "6.1 chunked", head: get("Transfer-Encoding: CHUNKED\r\n"), want: "GET / @a.b length=-1"},
	{name: "6.1 chunked and length", head: get("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), err: errCodingLength},
	{name: "6.1 length and chunked", head: get("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), err: errCodingLength},
	{name: "6.1 chunked in HTTP/1.0", head: "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", err: errCodingOld},
	{name: "6.1 chunked twice", head: get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), err: errCodings},
	{name: "6.1 chunked twice in a list", head: get("Transfer-Encoding: chunked, chunked\r\n"), err: errCoding},
	{name: "6.1 identity and chunked", head: get("Transfer-Encoding: identity, chunked\r\n"), err: errCoding},
	{name: "6.1 another coding", head: get("Transfer-Encoding: gzip\r\n"), err: errCoding},
	{name: "6.1 chunked and another", head: get("Transfer-Encoding: chunked, gzip\r\n"), err: errCoding},
	{name: "6.1 no coding", head: get("Transfer-Encoding:\r\n"), err: errNoCoding},
	{name: "6.1 comma alone", head: get("Transfer-Encoding: ,\r\n"), err: errCoding},
	{name: "6.1 chunked with a comma", head: get("Transfer-Encoding: chunked,\r\n"), err: errCoding},
	{name: "6.1 chunked with a parameter", head: get("Transfer-Encoding: chunked;a=b\r\n"), err: errCoding},
	{name: "6.1 quoted chunked", head: get("Transfer-Encoding: \"chunked\"\r\n"), err: errCoding},
	{name: "6.1 vertical tab before chunked", head: get("Transfer-Encoding: \vchunked\r\n"), err: errValueByte},
	{name: "6.1 no-break space before chunked", head: get("Transfer-Encoding: \xa0chunked\r\n"), err: errCoding},
	{name: "6.1 underscore is no dash", head: get("Transfer_Encoding: chunked\r\nContent_Length: x\r\n"), want: "GET / @a.b"},
	{name: "9110 6.5.1 announced length", head: get("Transfer-Encoding: chunked\r\nTrailer: X-A, content-length\r\n"), err: errTrailerNames},
	{name: "9110 6.6.2 announced fields", head: get("Transfer-Encoding: chunked\r\nTrailer: X-A, ETag\r\n"), want: "GET / @a.b length=-1"},

	// Connection and what hangs on it.
	{name: "9.3 close", head: get("Connection: Close\r\n"), want: "GET / @a.b close"},
	{name: "9.3 close in a list", head: get("Connection: , foo ,close\r\n"), want: "GET / @a.b close"},
	{name: "9.3 close in the second field", head: get("Connection: keep-alive\r\nConnection: close\r\n"), want: "GET / @a.b close"},
	{name: "9.3 keep-alive", head: get("Connection: keep-alive\r\n"), want: "GET / @a.b"},
	{name: "9.3 HTTP/1.0 keep-alive", head: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", want: "GET / 1.0"},
	{name: "9.3 HTTP/1.0 keep-alive and close", head: "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", want: "GET / 1.0 close"},
	{name: "9110 7.6.1 Proxy-Connection means nothing", head: get("Proxy-Connection: close\r\n"), want: "GET / @a.b"},
	{name: "9110 7.6.1 empty", head: get("Connection:\r\n"), want: "GET / @a.b"},
	{name: "9110 7.6.1 no token", head: get("Connection: a b\r\n"), err: errConnection},
	{name: "9110 7.6.1 parameter", head: get("Connection: close;a\r\n"), err: errConnection},
	{name: "9110 7.6.1 obs-text", head: get("Connection: \xff\r\n"), err: errConnection},
	{name: "9110 7.6.1 Host named", head: get("Connection: host\r\n"), err: errNominated},
	{name: "9110 7.6.1 Content-Length named", head: get("Connection: close, Content-Length\r\nContent-Length: 1\r\n"), err: errNominated},
	{name: "9110 7.6.1 Cookie named", head: get("Connection: Cookie\r\n"), err: errNominated},
	{name: "9110 7.6.1 Authorization named", head: get("Connection: Authorization\r\n"), err: errNominated},
	{name: "9110 7.6.1 X-Forwarded-For named", head: get("Connection: x-forwarded-for\r\n"), err: errNominated},
	{name: "9110 7.6.1 another X-Forwarded field named", head: get("Connection: X-Forwarded-User\r\n"), err: errNominated},
	{name: "9110 7.6.1 Cache-Control named", head: get("Connection: Cache-Control\r\n"), err: errNominated},
	{name: "9110 7.6.1 fields for this connection named", head: get("Connection: TE, Transfer-Encoding, Trailer, HTTP2-Settings\r\n"), want: "GET / @a.b"},
	{name: "9110 7.6.1 many named", head: get("Connection: " + strings.Repeat("x,", maxNominated) + "close\r\n"), want: "GET / @a.b close"},
	{name: "9110 7.6.1 too many named", head: get("Connection: " + strings.Repeat("x,", maxNominated+1) + "close\r\n"), err: errManyNominated},
	{name: "9110 7.8 upgrade", head: get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), want: "GET / @a.b upgrade=websocket"},
	{name: "9110 7.8 upgrade with a body", head: get("Connection: upgrade\r\nUpgrade: a/1, b\r\nContent-Length: 2\r\n"), want: "GET / @a.b length=2 upgrade=a/1, b"},
	{name: "9110 7.8 upgrade not named", head: get("Upgrade: websocket\r\n"), want: "GET / @a.b"},
	{name: "9110 7.8 upgrade named, not there", head: get("Connection: upgrade\r\n"), want: "GET / @a.b"},
	{name: "9110 7.8 two upgrades", head: get("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"), want: "GET / @a.b"},
	{name: "9110 7.8 upgrade in HTTP/1.0", head: "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", want: "GET / 1.0 close"},
	{name: "9110 10.1.1 expect", head: get("Expect: 100-Continue\r\nContent-Length: 1\r\n"), want: "GET / @a.b length=1 expect"},
	{name: "9110 10.1.1 expect and chunked", head: get("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"), want: "GET / @a.b length=-1 expect"},
	{name: "9110 10.1.1 expect without a body", head: get("Expect: 100-continue\r\n"), want: "GET / @a.b"},
	{name: "9110 10.1.1 expect in HTTP/1.0", head: "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", want: "PUT / length=1 1.0 close"},
	{name: "9110 10.1.1 another expectation", head: get("Expect: a\r\nContent-Length: 1\r\n"), want: "GET / @a.b length=1"},
	{name: "9110 10.1.4 trailers", head: get("TE: deflate;q=0.5, Trailers\r\n"), want: "GET / @a.b trailers"},
	{name: "9110 10.1.4 no trailers", head: get("TE: xtrailers, trailers;q=1\r\n"), want: "GET / @a.b"},
	{name: "9110 10.1.4 trailers in HTTP/1.0", head: "GET / HTTP/1.0\r\nTE: trailers\r\n\r\n", want: "GET / 1.0 close"},

	// Not whole.
	{name: "2.1 nothing", head: "", err: nil, want: "incomplete"},
	{name: "2.1 blank line alone", head: "\r\n", want: "incomplete"},
	{name: "2.1 no empty line", head: "GET / HTTP/1.1\r\nHost: a.b\r\n", want: "incomplete"},
	{name: "2.1 half an empty line", head: "GET / HTTP/1.1\r\nHost: a.b\r\n\r", want: "incomplete"},
	{name: "2.1 half a value", head: "GET / HTTP/1.1\r\nHost: a.b", want: "incomplete"},
	{name: "2.1 half a name", head: "GET / HTTP/1.1\r\nHos", want: "incomplete"},
	{name: "2.1 half a request line", head: "GET / HTTP/1.1\r", want: "incomplete"},
}

// describeRequest gives what Parse found, in a few words: method, path or "-", query, authority, and what is not usual.
func describeRequest(r *Request, err error) string {
	if incomplete(err) {
		return "incomplete"
	}
	if err != nil {
		return err.Error()
	}
	s := string(r.Method) + " " + string(r.Path)
	if r.Path == nil {
		s += "-"
	}
	if r.HasQuery {
		s += " ?" + string(r.Query)
	}
	if r.Authority != nil {
		s += " @" + string(r.Authority)
	}
	if r.Scheme != nil {
		s += " " + string(r.Scheme)
	}
	if r.Length != 0 {
		s += fmt.Sprintf(" length=%d", r.Length)
	}
	if r.Minor == 0 {
		s += " 1.0"
	}
	for _, f := range []struct {
		name string
		is   bool
	}{{"close", r.Close}, {"expect", r.Expect}, {"trailers", r.Trailers}} {
		if f.is {
			s += " " + f.name
		}
	}
	if r.Upgrade != nil {
		s += " upgrade=" + string(r.Upgrade)
	}
	return s
}

func (c *requestCase) wanted() string {
	if c.err != nil {
		return c.err.Error()
	}
	return c.want
}

func TestRequest(t *testing.T) {
	var r Request // one for all, as on a connection: nothing of one request may be in the next
	for _, c := range requestCases {
		t.Run(c.name, func(t *testing.T) {
			err := r.Parse([]byte(c.head))
			if got := describeRequest(&r, err); got != c.wanted() {
				t.Errorf("%.200q\ngot  %.200s\nwant %.200s", c.head, got, c.wanted())
			}
			if err == nil && r.Size != len(c.head) {
				t.Errorf("size %d, want %d", r.Size, len(c.head))
			}
			if incomplete(err) {
				r.Reset()
			}
		})
	}
}

// TestPipelined reads requests that lie behind one another, with a body between them.
func TestPipelined(t *testing.T) {
	b := []byte("GET /1 HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\n\r\nPUT /2 HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi\r\nGET /3 HTTP/1.0\r\n\r\n")
	var r Request
	for _, want := range []string{"GET /1 @a", "PUT /2 @b length=2", "GET /3 1.0 close"} {
		if got := describeRequest(&r, r.Parse(b)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		b = b[r.Size+int(r.Length):]
	}
	if len(b) > 0 {
		t.Errorf("left over: %q", b)
	}
}

func TestHosts(t *testing.T) {
	for host, ok := range map[string]bool{
		"a": true, "a.example.": true, "1.2.3.4:5": true, "xn--bcher-kva.example": true, "a:0": true, "a:65535": true,
		"[::1]": true, "[::1]:": true, "[1:2:3:4:5:6:7:8]:443": true, "[::ffff:1.2.3.4]": true,
		"a:65536": false, "a:000080": false, "a:+80": false, "a:8 0": false, "a:b": false, "a:80:80": false, ":80": false,
		"a,b": false, "a/b": false, "a b": false, "u@a": false, "a?b": false, "a#b": false, "a%20b": false, "a\\b": false,
		"b\xc3\xbccher": false, "[::1": false, "::1": false, "[]": false, "[1.2.3.4]": false, "[::1%25eth0]": false,
		"[::1%eth0]": false, "[v1.x]": false, "[::1]a": false, "a[::1]": false, "[::g]": false, "a*": false, "(a)": false,
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000]": false, "[" + strings.Repeat("0", 50) + "]": false,
	} {
		var r Request
		err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
		if (err == nil) != ok || err != nil && !errors.Is(err, errHost) {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// TestHops finds which fields may not be passed on.
func TestHops(t *testing.T) {
	head := get("Connection: close, X-Gone ,x-twice\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\n" +
		"Transfer-Encoding: chunked\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nProxy-Authorization: Basic a\r\n" +
		"Proxy-Authenticate: Basic\r\nX-GONE: 1\r\nX-Twice: 1\r\nx-twice: 2\r\nX_Forwarded_For: 1\r\nx-forwarded_host: 1\r\n" +
		"Content_Length: 1\r\n" +
		"X-Kept: 1\r\nX-Gone-Not: 1\r\nTrailer: X-Sum\r\nCookie: a=b\r\nX_Own: 1\r\nX-Forwarded-For: 1\r\nCookie2: a\r\n")
	var r Request
	if err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, f := range r.Fields {
		if !f.Hop {
			kept = append(kept, string(f.Name))
		}
	}
	want := "Host X-Kept X-Gone-Not Trailer Cookie X_Own X-Forwarded-For Cookie2"
	if got := strings.Join(kept, " "); got != want {
		t.Errorf("passed on: %s\nwant:      %s", got, want)
	}
}

// TestFields compares names and values byte by byte.
func TestFields(t *testing.T) {
	var r Request
	if err := r.Parse([]byte(get("x-A:b\r\nEmpty:\r\nBlank: \t \r\nTabs:\ta\tb \t\r\nColons: a:b\r\nLong: " + strings.Repeat("c", 100) + " \r\n"))); err != nil {
		t.Fatal(err)
	}
	want := []string{"Host=a.b", "x-A=b", "Empty=", "Blank=", "Tabs=a\tb", "Colons=a:b", "Long=" + strings.Repeat("c", 100)}
	if len(r.Fields) != len(want) {
		t.Fatalf("%d fields, want %d", len(r.Fields), len(want))
	}
	for i, f := range r.Fields {
		if got := string(f.Name) + "=" + string(f.Value); got != want[i] {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
}

// TestErrorsSayNothingOfTheMessage holds statuses and texts to what callers answer with.
func TestErrorsSayNothingOfTheMessage(t *testing.T) {
	statuses := map[int]bool{400: true, 414: true, 431: true, 501: true, 505: true}
	for _, c := range requestCases {
		if c.err == nil {
			continue
		}
		if !statuses[c.err.Status] || c.err.Reason == "" {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}
