package cli

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

// absent is the error of a command whose function this program was built without.
func absent(name string) error {
	return api.Errorf(api.Internal, "this program was built without %s", name)
}

func (s *shell) upFlags(cmd *cobra.Command, o *UpOptions) *cobra.Command {
	flags := cmd.Flags()
	flags.StringVar(&o.DataDir, "data-dir", s.dataDir(), "directory of the node's state; several nodes on one machine each have their own")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:7600", "address of API and registry")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "certificate for --listen, a PEM file, read again when it changes (default: where that is no loopback address, one that is made and kept in the data directory)")
	flags.StringVar(&o.TLSKey, "tls-key", "", "its key, a PEM file")
	flags.BoolVar(&o.InsecureHTTP, "insecure-http", false, "plain HTTP for --listen, whatever the address: tokens and secrets can be read on the way")
	flags.StringVar(&o.HTTP, "http", ":80", "address of the balancer for routes; empty is none")
	flags.StringVar(&o.HTTPS, "https", "", "address of the balancer for routes over TLS (default: :443 with --certs, else none)")
	flags.StringVar(&o.Certs, "certs", "", "directory of certificates for --https, NAME.crt with NAME.key or NAME.pem with both; read again when they change")
	flags.StringArrayVar(&o.TrustProxy, "trust-proxy", nil, "network such as 10.0.0.0/8 of proxies before this one, whose X-Forwarded-* headers are believed")
	flags.BoolVar(&o.ProxyProtocol, "proxy-protocol", false, "connections from trusted proxies begin with the PROXY protocol, version 1 or 2")
	flags.StringVar(&o.AccessLog, "access-log", "", "file that gets a line of JSON for each request to the balancer")
	flags.IntVar(&o.AccessLogSample, "access-log-sample", 1, "N: only one of N requests, and all that failed")
	flags.StringVar(&o.Node, "node", "", "name of the node (default: the host's)")
	flags.StringArrayVar(&o.Labels, "label", nil, "NAME=VALUE: label of the node, for placement constraints")
	flags.StringArrayVar(&o.Mirrors, "mirror", nil, "REGISTRY=URL: pull a registry's images from there first")
	flags.StringVar(&o.Subnet, "subnet", "", "addresses of tasks, such as 10.88.0.0/16 (default: one that is free)")
	flags.BoolVar(&o.Debug, "debug", false, "log more")
	return cmd
}

func (s *shell) upCommand() *cobra.Command {
	var o UpOptions
	return s.upFlags(&cobra.Command{
		Use:        "up",
		SuggestFor: []string{"serve", "server", "daemon", "init"},
		Short:      "Run a node on this machine until Ctrl-C; containers go on after it",
		GroupID:    groupNode,
		Args:       between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if s.Daemon.Up == nil {
				return absent("up")
			}
			return s.Daemon.Up(ctx, o)
		}),
	}, &o)
}

// dataDir gives the default of --data-dir.
func (s *shell) dataDir() string {
	if dir := s.environ["IKADA_DATA_DIR"]; dir != "" {
		return dir
	}
	if socket, ok := strings.CutPrefix(s.environ["IKADA_HOST"], "unix://"); ok && filepath.Base(socket) == "ikada.sock" {
		return filepath.Dir(socket) // the node that the other commands mean
	}
	return DefaultDataDir
}

// containerdCommand is what a node starts itself.
func (s *shell) containerdCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "containerd",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.Daemon.Containerd == nil {
				return absent("containerd")
			}
			return s.Daemon.Containerd(cmd.Context(), args)
		},
	}
}
