package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/check"
	"github.com/ikada/ikada/internal/cli"
	"github.com/ikada/ikada/internal/daemon"
	"github.com/ikada/ikada/internal/process"
)

// node gives the command line what it does on the machine itself.
func node() cli.Daemon {
	return cli.Daemon{
		Up: up,
		Check: func(ctx context.Context, o cli.UpOptions) ([]cli.Finding, error) {
			return findings(ctx, o), nil
		},
		Shutdown: func(ctx context.Context, dir string) error { return daemon.Shutdown(ctx, bare(dir)) },
		Reset:    func(ctx context.Context, dir string) error { return daemon.Reset(ctx, bare(dir)) },
	}
}

// bare is the configuration of a node that does not run.
func bare(dir string) daemon.Config {
	return daemon.Config{DataDir: absolute(dir), Name: "none", Log: slog.New(slog.DiscardHandler)}
}

// absolute makes a path one that other processes understand too; "" stays.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		return abs
	}
	return path
}

// https gives the address for routes over TLS: where there are certificates, there is one.
func https(o cli.UpOptions) string {
	if o.HTTPS == "" && o.Certs != "" {
		return ":443"
	}
	return o.HTTPS
}

func findings(ctx context.Context, o cli.UpOptions) []cli.Finding {
	running, routing := bare(o.DataDir).Running(ctx)
	var out []cli.Finding
	for _, f := range check.Machine(ctx, check.Config{DataDir: o.DataDir, Listen: o.Listen, HTTP: o.HTTP, HTTPS: https(o), Certs: o.Certs,
		Running: running, Routing: routing}) {
		out = append(out, cli.Finding(f))
	}
	return out
}

// up checks the machine, then runs a node and tells of each part that is ready.
func up(ctx context.Context, o cli.UpOptions) error {
	cfg, err := config(o)
	if err != nil {
		return err
	}
	began := time.Now()
	for _, f := range findings(ctx, o) {
		switch {
		case f.Fatal:
			return api.Errorf(api.Unavailable, "%s: %s; %s", f.Name, f.Problem, f.Remedy)
		case !f.OK:
			fmt.Fprintf(os.Stderr, "warning: %s: %s\n", f.Name, f.Problem)
			if f.Remedy != "" {
				fmt.Fprintf(os.Stderr, "  %s\n", f.Remedy)
			}
		}
	}
	cfg.Progress = func(part, detail string, took time.Duration) {
		fmt.Fprintf(os.Stderr, "%-11s %5d ms  %s\n", part, took.Milliseconds(), detail)
		if part == "API" {
			fmt.Fprintf(os.Stderr, "ready after %d ms; stop with Ctrl-C (tasks go on) or `ikada shutdown` (tasks stop too)\n",
				time.Since(began).Milliseconds())
		}
	}
	if err := process.LeaveCores(); err != nil {
		cfg.Log.Warn("requests wait while ikada starts containers", "error", err)
	}
	return daemon.Run(ctx, cfg)
}

func config(o cli.UpOptions) (daemon.Config, error) {
	level := slog.LevelWarn
	if o.Debug {
		level = slog.LevelDebug
	}
	cfg := bare(o.DataDir)
	cfg.Listen, cfg.HTTP, cfg.Version, cfg.Name = o.Listen, o.HTTP, version, o.Node
	cfg.TLSCert, cfg.TLSKey, cfg.InsecureHTTP = o.TLSCert, o.TLSKey, o.InsecureHTTP
	cfg.Balancer = daemon.Balancer{HTTPS: https(o), Certs: absolute(o.Certs), TrustProxy: o.TrustProxy,
		ProxyProtocol: o.ProxyProtocol, AccessLog: absolute(o.AccessLog), AccessLogSample: o.AccessLogSample}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if o.Subnet != "" {
		p, err := netip.ParsePrefix(o.Subnet)
		if err != nil {
			return cfg, api.FieldError("subnet", o.Subnet, "a network such as 10.210.0.0/20")
		}
		cfg.Subnet = p
	}
	cfg.Labels = map[string]string{}
	for _, l := range o.Labels {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return cfg, api.FieldError("label", l, "NAME=VALUE, such as zone=a")
		}
		cfg.Labels[name] = value
	}
	cfg.Mirrors = map[string][]string{}
	for _, m := range o.Mirrors {
		host, url, ok := strings.Cut(m, "=")
		if !ok || host == "" {
			return cfg, api.FieldError("mirror", m, "HOST=URL, such as docker.io=https://mirror.example.com")
		}
		cfg.Mirrors[host] = append(cfg.Mirrors[host], url)
	}
	return cfg, cfg.Validate()
}
