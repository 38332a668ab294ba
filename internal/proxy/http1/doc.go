// Package http1 reads the heads and the chunked bodies of HTTP/1.0 and HTTP/1.1 messages (RFC 9110, RFC 9112), for a
// proxy that passes them on.
//
// It owns the decision of what a message is: where its head ends, which of its fields must stay on this connection, how
// long its body is. It is strict, so that no other program can read the same bytes as other messages: what RFC 9112
// lets a recipient repair (bare LF, folded lines, spaces around names, several lengths, chunked beside a length), it
// refuses. It never does I/O, never answers, never routes, never changes or copies a byte of a head, and allocates
// nothing but the slice of fields, which it keeps, and the trailer fields of a chunked body.
//
// All slices that a parsed message holds are of the caller's buffer, and good as long as that is.
//
// A value is for one goroutine at a time. Start reading at [Request], then appendFields (the lines), settle (what they
// mean together) and [Chunks].
package http1
