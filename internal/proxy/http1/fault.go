package http1

import (
	"errors"
	"strconv"
)

// ErrIncomplete means that nothing is wrong so far, and that the head has not all been received.
var ErrIncomplete = errors.New("the head is incomplete")

// incomplete tells whether err is ErrIncomplete. This package never wraps it, so that a parser tells it apart at the
// cost of a comparison.
func incomplete(err error) bool { return err == ErrIncomplete } //nolint:errorlint // never wrapped

// Error is why a message is refused. After it nothing more can be read from its connection.
type Error struct {
	Status int    // the HTTP status to answer a request with: 400, 414, 431, 501 or 505; of responses always 502
	Reason string // a constant text; holds nothing of the message
}

// Error gives status and reason.
func (e *Error) Error() string { return strconv.Itoa(e.Status) + " " + e.Reason }

// What can be wrong with any head. They are for requests; Response.Parse gives each with status 502.
var (
	errEmptyName     = &Error{400, "a field has no name"}
	errNameByte      = &Error{400, "a field's name has a byte that no name may have"}
	errNameSpace     = &Error{400, "white space stands between a field's name and its colon"}
	errFolded        = &Error{400, "a field is folded over several lines"}
	errNoColon       = &Error{400, "a field line has no colon"}
	errValueByte     = &Error{400, "a field's value has a control byte"}
	errBareLF        = &Error{400, "a line ends with LF alone"}
	errBareCR        = &Error{400, "CR stands without LF"}
	errManyFields    = &Error{431, "the head has too many fields"}
	errLengths       = &Error{400, "the message has several Content-Length fields"}
	errLength        = &Error{400, "Content-Length is not a number of bytes"}
	errCodings       = &Error{400, "the message has several Transfer-Encoding fields"}
	errNoCoding      = &Error{400, "Transfer-Encoding is empty"}
	errCoding        = &Error{501, "the transfer coding is not chunked"}
	errCodingLength  = &Error{400, "the message has both Transfer-Encoding and Content-Length"}
	errCodingOld     = &Error{400, "Transfer-Encoding in a message of HTTP/1.0"}
	errConnection    = &Error{400, "Connection is not a list of tokens"}
	errNominated     = &Error{400, "Connection names a field that is not for this connection alone"}
	errManyNominated = &Error{400, "Connection names too many fields"}
	errTrailerNames  = &Error{400, "Trailer names a field that frames the message"}
)

// What can be wrong with a request.
var (
	errMethod        = &Error{400, "the method is not a token"}
	errRequestLine   = &Error{400, "the request line is not method, target and version with a space between"}
	errVersion       = &Error{505, "the version is neither HTTP/1.0 nor HTTP/1.1"}
	errLineLong      = &Error{414, "the request line is too long"}
	errTargetByte    = &Error{400, "the target has a byte that no target may have"}
	errTargetEscape  = &Error{400, "the target's path has a bad escape"}
	errTargetForm    = &Error{400, "the target has a form that the method does not allow"}
	errTargetScheme  = &Error{400, "the target's scheme is neither http nor https"}
	errAuthority     = &Error{400, "the target's authority is not a host with an optional port"}
	errHosts         = &Error{400, "the request has several Host fields"}
	errHostMissing   = &Error{400, "the request has no Host field"}
	errHost          = &Error{400, "Host is not a host with an optional port"}
	errLeadingReturn = &Error{400, "CR without LF stands before the request line"}
)

// What can be wrong with a response's first line.
var (
	errStatusLine = &Error{502, "the status line is not version, status and reason"}
	errStatusOld  = &Error{502, "the response's version is neither HTTP/1.0 nor HTTP/1.1"}
	errStatusLong = &Error{502, "the status line is too long"}
)

// What can be wrong with a chunked body.
var (
	errChunkSize     = &Error{400, "a chunk's size is not a hexadecimal number"}
	errChunkBig      = &Error{400, "a chunk's size is too large"}
	errChunkLine     = &Error{400, "a chunk's size is not followed by an extension or the line's end"}
	errChunkLineLong = &Error{400, "a chunk's first line is too long"}
	errChunkLineByte = &Error{400, "a chunk's first line has a control byte"}
	errChunkEnd      = &Error{400, "a chunk's data is not followed by the line's end"}
	errChunkExcess   = &Error{400, "the chunked body has too much that is not data"}
	errTrailersLong  = &Error{431, "the trailer section is too long"}
)
