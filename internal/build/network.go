package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// detachTimeout bounds the removal of a step's network, which goes on after a build was cancelled.
const detachTimeout = 10 * time.Second

// stepNetworks serves BuildKit's executor with a network namespace for each RUN step.
type stepNetworks struct {
	net Network
	dir string // for merged hosts files
}

// New implements network.Provider.
func (p *stepNetworks) New(ctx context.Context, _ string, _ network.NamespaceOptions) (network.Namespace, error) {
	id := "build-" + identity.NewID()
	netns, resolvConf, hosts, err := p.net.Attach(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("attach build step to network: %w", err)
	}
	return &stepNetwork{id: id, net: p.net, netns: netns, resolvConf: resolvConf, hosts: hosts, merged: filepath.Join(p.dir, id)}, nil
}

// Close implements network.Provider.
func (p *stepNetworks) Close() error { return nil }

// stepNetwork is the network of one RUN step.
type stepNetwork struct {
	id, netns, resolvConf, hosts, merged string
	net                                  Network
}

// Set implements network.Namespace: it puts the step into its namespace and gives it the files that go with it.
func (n *stepNetwork) Set(s *specs.Spec) error {
	ns := specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.netns}
	i := slices.IndexFunc(s.Linux.Namespaces, func(l specs.LinuxNamespace) bool { return l.Type == specs.NetworkNamespace })
	if i < 0 {
		s.Linux.Namespaces = append(s.Linux.Namespaces, ns)
	} else {
		s.Linux.Namespaces[i] = ns
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		switch {
		case m.Destination == "/etc/resolv.conf" && n.resolvConf != "":
			m.Source = n.resolvConf
		case m.Destination == "/etc/hosts" && n.hosts != "":
			if err := n.mergeHosts(m.Source); err != nil {
				return err
			}
			m.Source = n.merged
		}
	}
	return nil
}

// mergeHosts writes the step's hosts file: BuildKit's, which holds the build's extra_hosts and therefore comes first,
// and then the network's.
func (n *stepNetwork) mergeHosts(buildkit string) error {
	first, err := os.ReadFile(buildkit)
	if err != nil {
		return fmt.Errorf("read hosts of build step: %w", err)
	}
	second, err := os.ReadFile(n.hosts)
	if err != nil {
		return fmt.Errorf("read hosts of network: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(n.merged), 0o755); err != nil {
		return fmt.Errorf("write hosts of build step: %w", err)
	}
	if err := os.WriteFile(n.merged, bytes.Join([][]byte{bytes.TrimRight(first, "\n"), second}, []byte("\n")), 0o644); err != nil {
		return fmt.Errorf("write hosts of build step: %w", err)
	}
	return nil
}

// Close implements network.Namespace.
func (n *stepNetwork) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), detachTimeout)
	defer cancel()
	_ = os.Remove(n.merged) // there only when the network brought hosts of its own
	if err := n.net.Detach(ctx, n.id); err != nil {
		return fmt.Errorf("detach build step from network: %w", err)
	}
	return nil
}

// Sample implements network.Namespace; nothing is measured.
func (n *stepNetwork) Sample() (*types.NetworkSample, error) { return nil, nil }
