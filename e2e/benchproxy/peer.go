package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
)

// peer is one balancer under measurement.
type peer struct {
	name        string
	program     string // that must be there; "" is none
	http, https string // addresses; https is "" when it has none
	echo        string // address of WebSockets, if it is not http
	start       func(context.Context) (instance, error)
}

// portsUsed is how many ports a run takes: four for the backends, two for each balancer.
const portsUsed = 14

// allPeers gives every balancer its ports. Those of the backends come first.
func (b *bench) allPeers() []*peer {
	at := func(i int) (http, https string) { return loopback(b.port + 4 + 2*i), loopback(b.port + 5 + 2*i) }
	plain, plainTLS := at(2)
	pooled, pooledTLS := at(4)
	return []*peer{
		b.nginx(at(0)),
		b.haproxy(at(1)),
		b.reverseProxy(plainProxy, plain, plainTLS),
		b.reverseProxy(pooledProxy, pooled, pooledTLS),
		b.balancer(at(3)),
		{name: "direct", http: b.origin.http[0], echo: b.origin.echo[0],
			start: func(context.Context) (instance, error) { return direct{}, nil }},
	}
}

// direct is no balancer at all: the load goes to the first backend.
type direct struct{}

func (direct) pids() ([]int, error) { return nil, nil }
func (direct) stop() error          { return nil }

// launch starts a peer and returns once it answers rightly.
func (b *bench) launch(ctx context.Context, p *peer) (instance, error) {
	i, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	err = until(ctx, p.name, func(ctx context.Context) error {
		if own, ok := i.(*process); ok && own.ended() != nil {
			return own.ended()
		}
		return p.check(ctx)
	})
	var pids []int
	if err == nil {
		pids, err = i.pids()
	}
	if err == nil && len(pids) > 0 && b.nice != 0 {
		err = prefer(slices.Min(pids), b.nice) // the processes of a peer are one session
	}
	if err != nil {
		return nil, errors.Join(err, i.stop())
	}
	return i, nil
}

// check asks for every reply once, over HTTP and, where there is, over TLS.
func (p *peer) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t := &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
	}}
	defer t.CloseIdleConnections()
	bases := []string{"http://" + p.http}
	if p.https != "" {
		bases = append(bases, p.secureURL())
	}
	for _, base := range bases {
		for _, r := range []reply{smallReply, pageReply, largeReply} {
			if err := r.check(ctx, &http.Client{Transport: t}, base); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// secureURL is where the peer speaks TLS, by the name in the certificate.
func (p *peer) secureURL() string {
	_, port, _ := net.SplitHostPort(p.https) // it is one of allPeers' addresses
	return "https://" + net.JoinHostPort(certHost, port)
}

// clientTLS is what clients written here speak: TLS 1.3 and X25519, which Debian's OpenSSL has too, so that no peer
// pays for a costlier key exchange than another. The certificate is nobody's.
func clientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, InsecureSkipVerify: true, ServerName: certHost}
}
