// Package daemon puts a node together: it starts the store, the runtime, the network, the balancer, the builder, the
// registry, the agent, the control loops and the API in their order, and stops them in the reverse one.
//
// It holds wiring and no logic. Start at [Run].
package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/runtime/containerd"
	"github.com/ikada/ikada/internal/server"
)

// Config is what `ikada up` is told.
type Config struct {
	DataDir string
	Listen  string              // API and registry
	HTTP    string              // shared HTTP port of the balancer; "" is none
	Name    string              // of the node; "" is the one it had, at first the host's
	Labels  map[string]string   // of the node
	Subnet  netip.Prefix        // of tasks; zero: chosen
	Mirrors map[string][]string // registry host → base URLs to ask before it
	TLSCert string              // PEM files for Listen; without, one of the node's own where that is not a loopback address
	TLSKey  string

	InsecureHTTP bool // plain HTTP wherever Listen is

	Version string
	Log     *slog.Logger
	Balancer
	// Progress is told of every part that is up, and how long it took.
	Progress func(part, detail string, took time.Duration)
}

var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Validate names the first field that is wrong.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.DataDir) {
		return api.FieldError("data-dir", c.DataDir, "an absolute path")
	}
	if c.HTTP != "" {
		if err := checkAddress("http", c.HTTP, ":80 or 127.0.0.1:8080"); err != nil {
			return err
		}
	}
	if err := c.Balancer.validate(c.HTTP); err != nil {
		return err
	}
	for host, urls := range c.Mirrors {
		for _, u := range urls {
			if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
				return api.FieldError("mirror", host+"="+u, "HOST=URL, such as docker.io=https://mirror.example.com")
			}
		}
	}
	return c.server().Validate()
}

func (c Config) server() server.Config {
	return server.Config{Unix: c.Socket(), TCP: c.Listen, CertFile: c.TLSCert, KeyFile: c.TLSKey,
		CertDir: c.dir("tls"), Insecure: c.InsecureHTTP}
}

// Socket is the path of the API's unix socket.
func (c Config) Socket() string { return filepath.Join(c.DataDir, "ikada.sock") }

func (c Config) containerd() containerd.Config {
	return containerd.Config{DataDir: c.DataDir, Mirrors: c.Mirrors, Log: c.Log.With("part", "containerd")}
}

// balancerSocket is the path of the unix socket of the balancer's process.
func (c Config) balancerSocket() string {
	return filepath.Join(c.containerd().RunDir(), "proxy", "sock")
}

// Running tells whether a node answers on the data directory, and whether its balancer, which outlives it, does.
func (c Config) Running(ctx context.Context) (node, balancer bool) {
	return answers(ctx, c.Socket()), answers(ctx, c.balancerSocket())
}

func answers(ctx context.Context, socket string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", socket)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func (c Config) dir(name string) string { return filepath.Join(c.DataDir, name) }
