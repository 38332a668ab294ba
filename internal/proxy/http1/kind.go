package http1

// Kind is a field whose meaning a proxy must know; all others are Other.
type Kind uint8

// The fields by name.
const (
	Other Kind = iota
	Host
	Connection
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Trailer
	TransferEncoding
	ContentLength
	Upgrade
	Expect
	HTTP2Settings
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XForwardedPort
	XRealIP
	XRequestID
	Traceparent
	Authorization
	Cookie
	SetCookie
	AcceptEncoding
	ContentEncoding
	ContentType
	ContentRange
	CacheControl
	Date
	Server
	Vary
	ETag
	Location
	UserAgent
	Referer
	Via
	RetryAfter

	kinds // how many there are
)

// names has each kind's name in lower case.
var names = [kinds]string{
	Host: "host", Connection: "connection", KeepAlive: "keep-alive", ProxyConnection: "proxy-connection",
	ProxyAuthenticate: "proxy-authenticate", ProxyAuthorization: "proxy-authorization", TE: "te", Trailer: "trailer",
	TransferEncoding: "transfer-encoding", ContentLength: "content-length", Upgrade: "upgrade", Expect: "expect",
	HTTP2Settings: "http2-settings", Forwarded: "forwarded", XForwardedFor: "x-forwarded-for",
	XForwardedHost: "x-forwarded-host", XForwardedProto: "x-forwarded-proto", XForwardedPort: "x-forwarded-port",
	XRealIP: "x-real-ip", XRequestID: "x-request-id", Traceparent: "traceparent", Authorization: "authorization",
	Cookie: "cookie", SetCookie: "set-cookie", AcceptEncoding: "accept-encoding", ContentEncoding: "content-encoding",
	ContentType: "content-type", ContentRange: "content-range", CacheControl: "cache-control", Date: "date",
	Server: "server", Vary: "vary", ETag: "etag", Location: "location", UserAgent: "user-agent", Referer: "referer",
	Via: "via", RetryAfter: "retry-after",
}

// hops are the fields that mean this connection only: those of RFC 9110 section 7.6.1, those of its section 11.7 (a
// gateway is the one proxy that they speak to), and HTTP2-Settings, which RFC 7540 section 3.2.1 has Connection name.
// Trailer is not among them: a proxy that passes on a trailer section passes on its announcement.
var hops = [kinds]bool{
	Connection: true, KeepAlive: true, ProxyConnection: true, ProxyAuthenticate: true, ProxyAuthorization: true,
	TE: true, TransferEncoding: true, Upgrade: true, HTTP2Settings: true,
}

// String gives the field's name in lower case, "" for Other.
func (k Kind) String() string {
	if k >= kinds {
		return ""
	}
	return names[k]
}

// KindOf tells which field a name is, in any case.
func KindOf(name []byte) Kind {
	k := candidate(name)
	if k != Other && isFold(name, names[k]) {
		return k
	}
	return Other
}

// candidate gives the only kind that a name of this length with these letters can be.
func candidate(name []byte) Kind {
	switch len(name) {
	case 2:
		return TE
	case 3:
		return Via
	case 4:
		switch name[0] | 0x20 {
		case 'h':
			return Host
		case 'd':
			return Date
		case 'e':
			return ETag
		case 'v':
			return Vary
		}
	case 6:
		switch name[0] | 0x20 {
		case 'c':
			return Cookie
		case 's':
			return Server
		case 'e':
			return Expect
		}
	case 7:
		switch name[0] | 0x20 {
		case 't':
			return Trailer
		case 'u':
			return Upgrade
		case 'r':
			return Referer
		}
	case 8:
		return Location
	case 9:
		if name[0]|0x20 == 'f' {
			return Forwarded
		}
		return XRealIP
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			return Connection
		case 'k':
			return KeepAlive
		case 's':
			return SetCookie
		case 'u':
			return UserAgent
		}
	default:
		return longCandidate(name)
	}
	return Other
}

// longCandidate is candidate for names of more than ten bytes.
func longCandidate(name []byte) Kind {
	switch len(name) {
	case 11:
		if name[0]|0x20 == 't' {
			return Traceparent
		}
		return RetryAfter
	case 12:
		if name[0]|0x20 == 'x' {
			return XRequestID
		}
		return ContentType
	case 13:
		switch name[1] | 0x20 {
		case 'u':
			return Authorization
		case 'o':
			return ContentRange
		case 'a':
			return CacheControl
		}
	case 14:
		if name[0]|0x20 == 'h' {
			return HTTP2Settings
		}
		return ContentLength
	case 15:
		if name[0]|0x20 == 'x' {
			return XForwardedFor
		}
		return AcceptEncoding
	case 16:
		switch {
		case name[0]|0x20 == 'p':
			return ProxyConnection
		case name[0]|0x20 == 'c':
			return ContentEncoding
		case name[12]|0x20 == 'h':
			return XForwardedHost
		}
		return XForwardedPort
	case 17:
		if name[0]|0x20 == 'x' {
			return XForwardedProto
		}
		return TransferEncoding
	case 18:
		return ProxyAuthenticate
	case 19:
		return ProxyAuthorization
	}
	return Other
}
