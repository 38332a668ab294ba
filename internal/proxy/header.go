package proxy

import (
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// dropHopByHop removes what is meant for the next hop only: the fields that Connection names, and those of
// RFC 9110, section 7.6.1, with what older software uses.
func dropHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te",
		"Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
	} {
		delete(h, name)
	}
}

// upgradeOf gives the protocol that a head asks to switch to, "" for none. A switch to HTTP/2 (h2c, dropped by
// RFC 9113) is not passed on: behind it requests could go past the balancer unseen.
func upgradeOf(h http.Header) string {
	if !httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade") {
		return ""
	}
	if up := h.Get("Upgrade"); !strings.EqualFold(up, "h2c") {
		return up
	}
	return ""
}

// setForwarded tells the target who asked, for which host, by which scheme: in the X-Forwarded fields and in
// Forwarded (RFC 7239). The balancer is the edge, so what a client wrote there itself is replaced.
func setForwarded(out http.Header, r *http.Request) {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	client, _, _ = strings.Cut(client, "%") // an IPv6 zone means nothing elsewhere
	out["X-Forwarded-For"] = []string{client}
	out["X-Real-Ip"] = []string{client}
	out["X-Forwarded-Host"] = []string{r.Host}
	out["X-Forwarded-Proto"] = []string{"http"}
	delete(out, "X-Forwarded-Port")
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(local.String()); err == nil {
			out["X-Forwarded-Port"] = []string{port}
		}
	}
	node := client
	if strings.Contains(client, ":") {
		node = `"[` + client + `]"`
	}
	forwarded := "for=" + node
	if r.Host != "" {
		forwarded += ";host=" + strconv.Quote(r.Host)
	}
	out["Forwarded"] = []string{forwarded + ";proto=http"}
}
