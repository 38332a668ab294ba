package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// nginxConfig is the peer's. More than Debian's defaults: two workers for two cores, each with a listening socket of
// its own, the fields for backends that ikada sends, kept connections to the backends, and no end to a connection after a number of requests.
const nginxConfig = `
daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile 20000;
pid DIR/nginx.pid;
error_log DIR/nginx.error.log;
events { worker_connections 16384; }
http {
	access_log off;
	tcp_nopush on;
	keepalive_timeout 1h;
	keepalive_requests 1000000000;
	upstream backends {
		server BACKEND0;
		server BACKEND1;
		keepalive 512;
		keepalive_requests 1000000000;
	}
	upstream echo {
		server ECHO0;
		server ECHO1;
	}
	server {
		listen HTTP backlog=4096 reuseport;
		listen HTTPS ssl http2 backlog=4096 reuseport;
		ssl_certificate CERT;
		ssl_certificate_key KEY;
		ssl_protocols TLSv1.3;
		proxy_http_version 1.1;
		proxy_set_header Host $http_host;
		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		proxy_set_header X-Forwarded-Host $http_host;
		proxy_set_header X-Forwarded-Proto $scheme;
		proxy_set_header X-Forwarded-Port $server_port;
		proxy_set_header X-Real-Ip $remote_addr;
		proxy_set_header Forwarded "for=$remote_addr;host=\"$http_host\";proto=$scheme";
		proxy_set_header X-Request-Id $request_id;
		proxy_buffer_size 16k;
		proxy_buffers 8 32k;
		proxy_max_temp_file_size 0;
		location / {
			proxy_set_header Connection "";
			proxy_pass http://backends;
		}
		location /echo {
			proxy_set_header Connection upgrade;
			proxy_set_header Upgrade $http_upgrade;
			proxy_pass http://echo;
		}
	}
}
`

func (b *bench) nginx(http, https string) *peer {
	return &peer{name: "nginx", program: "nginx", http: http, https: https, start: func(context.Context) (instance, error) {
		return startNginx(b.dir, "nginx", b.fill(nginxConfig, http, https))
	}}
}

// startNginx runs an nginx with its own configuration and nothing of the machine's.
func startNginx(dir, name, conf string) (*process, error) {
	path := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return startProcess(dir, name, "nginx", "-p", dir, "-c", path, "-e", filepath.Join(dir, name+".error.log"))
}

// fill puts the run's paths and addresses into a configuration.
func (b *bench) fill(conf, http, https string) string {
	return strings.NewReplacer("DIR", b.dir, "BACKEND0", b.origin.http[0], "BACKEND1", b.origin.http[1],
		"ECHO0", b.origin.echo[0], "ECHO1", b.origin.echo[1], "HTTPS", https, "HTTP", http,
		"CERT", b.cert.cert, "KEY", b.cert.key, "PEM", b.cert.both).Replace(conf)
}
