package main

import (
	"context"
	"os"
	"path/filepath"
)

// haproxyConfig is the peer's: two threads for two cores, the fields for backends that ikada sends, and connections to the backends shared by all.
const haproxyConfig = `
global
	nbthread 2
	maxconn 16000
	ulimit-n 20000
	no strict-limits
	ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
	mode http
	timeout connect 5s
	timeout client 1h
	timeout server 1h
	timeout tunnel 1h
	http-reuse always
	option splice-response
	option forwardfor
frontend in
	bind HTTP backlog 4096
	bind HTTPS backlog 4096 ssl crt PEM alpn h2,http/1.1
	maxconn 16000
	http-request set-header X-Forwarded-Host %[req.hdr(host)]
	http-request set-header X-Forwarded-Proto http unless { ssl_fc }
	http-request set-header X-Forwarded-Proto https if { ssl_fc }
	http-request set-header X-Forwarded-Port %[dst_port]
	http-request set-header X-Real-Ip %[src]
	http-request set-header Forwarded for=%[src];host=\"%[req.hdr(host)]\";proto=http unless { ssl_fc }
	http-request set-header Forwarded for=%[src];host=\"%[req.hdr(host)]\";proto=https if { ssl_fc }
	unique-id-format %{+X}o%ci%cp%Ts%rt
	unique-id-header X-Request-Id
	use_backend echo if { path /echo }
	default_backend backends
backend backends
	balance roundrobin
	server b0 BACKEND0 pool-max-conn 512
	server b1 BACKEND1 pool-max-conn 512
backend echo
	balance roundrobin
	server e0 ECHO0
	server e1 ECHO1
`

func (b *bench) haproxy(http, https string) *peer {
	return &peer{name: "haproxy", program: "haproxy", http: http, https: https, start: func(context.Context) (instance, error) {
		path := filepath.Join(b.dir, "haproxy.cfg")
		if err := os.WriteFile(path, []byte(b.fill(haproxyConfig, http, https)), 0o600); err != nil {
			return nil, err
		}
		return startProcess(b.dir, "haproxy", "haproxy", "-db", "-f", path)
	}}
}
