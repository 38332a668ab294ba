package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/roster"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// hostGateway is the word in Endpoint.Hosts for the node's own address, as in Docker.
const hostGateway = "host-gateway"

const recordVersion = 1

// record is what is kept of an endpoint on disk.
type record struct {
	Version  int            `json:"version"`
	Endpoint agent.Endpoint `json:"endpoint"`
	Address  netip.Addr     `json:"address"`
	Ready    bool           `json:"ready"`
}

func (n *Network) netnsDir() string           { return filepath.Join(n.cfg.StateDir, "netns") }
func (n *Network) filesDir() string           { return filepath.Join(n.cfg.StateDir, "netfiles") }
func (n *Network) netnsPath(id string) string { return filepath.Join(n.netnsDir(), id) }
func (n *Network) filePath(id, name string) string {
	return filepath.Join(n.filesDir(), id, name)
}

func (n *Network) attachment(e roster.Entry) agent.Attachment {
	return agent.Attachment{
		Netns:      n.netnsPath(e.ID),
		Address:    e.Address.String(),
		ResolvConf: n.filePath(e.ID, "resolv.conf"),
		Hosts:      n.filePath(e.ID, "hosts"),
		HostName:   n.filePath(e.ID, "hostname"),
	}
}

// writeFiles writes what is mounted into the container.
func (n *Network) writeFiles(e roster.Entry) error {
	if err := os.MkdirAll(filepath.Join(n.filesDir(), e.ID), 0o755); err != nil {
		return fmt.Errorf("make files of endpoint: %w", err)
	}
	for name, content := range map[string]string{
		"resolv.conf": n.resolvConf(e.Endpoint),
		"hosts":       n.hosts(e),
		"hostname":    hostname(e.Endpoint) + "\n",
	} {
		if holds(n.filePath(e.ID, name), []byte(content)) {
			continue
		}
		if err := os.WriteFile(n.filePath(e.ID, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// resolvConf points at the gateway also for an endpoint with name servers of its own: those are asked by the
// gateway's server, so that the names of its networks are found all the same. ndots:0, as Docker has it, makes
// "web" be asked for as it stands first.
func (n *Network) resolvConf(e agent.Endpoint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nameserver %s\n", n.gateway)
	search := e.Search
	if len(search) == 0 {
		search = slices.DeleteFunc(inside.ReadResolvers(n.cfg.Resolvers).Search, func(d string) bool { return !hostForm.MatchString(d) })
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	b.WriteString("options ndots:0\n")
	return b.String()
}

func (n *Network) hosts(e roster.Entry) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "%s\t%s\n", e.Address, hostname(e.Endpoint))
	for _, name := range slices.Sorted(maps.Keys(e.Hosts)) {
		addr := e.Hosts[name]
		if addr == hostGateway {
			addr = n.gateway.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	return b.String()
}

func hostname(e agent.Endpoint) string {
	if e.Hostname != "" {
		return e.Hostname
	}
	return e.ID[:min(len(e.ID), 63)]
}

// writeRecord keeps an endpoint over a restart. The rename makes a record whole or absent at any moment.
func (n *Network) writeRecord(e roster.Entry) error {
	b, err := json.Marshal(record{Version: recordVersion, Endpoint: e.Endpoint, Address: e.Address, Ready: e.Ready})
	if err != nil {
		return fmt.Errorf("encode endpoint: %w", err)
	}
	return replaceFile(n.filePath(e.ID, "endpoint.json"), b)
}

func (n *Network) removeRecord(id string) error {
	err := os.Remove(n.filePath(id, "endpoint.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (n *Network) readRecord(id string) (roster.Entry, error) {
	b, err := os.ReadFile(n.filePath(id, "endpoint.json"))
	if err != nil {
		return roster.Entry{}, err
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&r); err != nil {
		return roster.Entry{}, fmt.Errorf("decode record of endpoint %s: %w", id, err)
	}
	if r.Version > recordVersion || r.Endpoint.ID != id {
		return roster.Entry{}, api.Errorf(api.Internal, "record of endpoint %s: version %d, ID %q", id, r.Version,
			r.Endpoint.ID)
	}
	return roster.Entry{Endpoint: r.Endpoint, Address: r.Address, Ready: r.Ready}, nil
}

// holds tells whether a file has the content already. What need not be written cannot fail on a full disk.
func holds(path string, content []byte) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Equal(b, content)
}

func replaceFile(path string, content []byte) error {
	if holds(path, content) {
		return nil
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replace %s: %w", filepath.Base(path), err)
	}
	return nil
}

// What may stand in a path, in a line of a file and in a sysctl's name.
var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9_*:]([A-Za-z0-9_.:-]{0,252})$`)
	sysctlForm = regexp.MustCompile(`^net[./][A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)+$`)
)

func checkID(id string) error {
	if !idForm.MatchString(id) {
		return api.FieldError("endpoint.id", id, "letters, digits, '_', '-' and '.', at most 128")
	}
	return nil
}

// validate refuses what would not be safe to write to a path or a file.
func validate(e agent.Endpoint) error {
	if err := checkID(e.ID); err != nil {
		return err
	}
	if e.Hostname != "" && (len(e.Hostname) > 253 || !hostForm.MatchString(e.Hostname)) {
		return api.FieldError("hostname", e.Hostname, "a host name")
	}
	for name, addr := range e.Hosts {
		if !hostForm.MatchString(name) {
			return api.FieldError("extra_hosts", name, "a host name")
		}
		if _, err := netip.ParseAddr(addr); err != nil && addr != hostGateway {
			return api.FieldError("extra_hosts."+name, addr, "an IP address or "+hostGateway)
		}
	}
	for _, s := range e.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return api.FieldError("dns", s, "an IP address")
		}
	}
	for _, s := range e.Search {
		if s != "." && !hostForm.MatchString(s) {
			return api.FieldError("dns_search", s, "a domain")
		}
	}
	for name := range e.Sysctls {
		if !sysctlForm.MatchString(name) {
			return api.FieldError("sysctls", name, "a name that begins with net.")
		}
	}
	return nil
}
