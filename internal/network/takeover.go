package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// recorded gives the IDs that have a record on disk.
func (n *Network) recorded() ([]string, error) {
	dirs, err := os.ReadDir(n.filesDir())
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	var ids []string
	for _, d := range dirs {
		if _, err := os.Stat(n.filePath(d.Name(), "endpoint.json")); err == nil {
			ids = append(ids, d.Name())
		}
	}
	return ids, nil
}

// takeOver reads again what an earlier process left, and removes all that is not whole: endpoints that were being
// made or removed when it was killed, and those whose namespaces went with a reboot.
func (n *Network) takeOver() error {
	ids, err := n.recorded()
	if err != nil {
		return err
	}
	ports, err := n.ports()
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, err := n.readRecord(id)
		if err != nil {
			n.log.Warn("endpoint dropped: its record cannot be read", "task", id, "error", err)
			continue
		}
		if !n.subnet.Contains(e.Address) {
			continue
		}
		name := n.portName(e.Address)
		if !pinned(n.netnsPath(id)) || !ports[name] || !n.pool.Claim(e.Address) {
			continue
		}
		delete(ports, name)
		n.roster.Put(e)
	}
	var errs []error
	for name := range ports {
		errs = append(errs, n.removePort(name))
	}
	errs = append(errs, n.sweep(n.netnsDir(), removeNamespace), n.sweep(n.filesDir(), os.RemoveAll))
	return errors.Join(errs...)
}

// sweep removes what lies in a directory under a name that is no endpoint's ID.
func (n *Network) sweep(dir string, remove func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list remnants: %w", err)
	}
	var errs []error
	for _, d := range entries {
		if _, ok := n.roster.Get(d.Name()); !ok {
			errs = append(errs, remove(filepath.Join(dir, d.Name())))
		}
	}
	return errors.Join(errs...)
}

// ports gives the names of the node's ends of all our veth pairs.
func (n *Network) ports() (map[string]bool, error) {
	links, err := dump(n.link.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	ports := map[string]bool{}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, n.portPrefix()) {
			ports[name] = true
		}
	}
	return ports, nil
}

// Reset removes everything of this instance: endpoints, namespaces, bridge, tables and files. It may be called
// whether the network is started or not, and closes it. Forwarding is turned off again if this instance turned it on
// and no bridge of anyone is left that may need it.
func (n *Network) Reset(_ context.Context) error {
	errs := []error{n.Close()}
	n.mu.Lock()
	defer n.mu.Unlock()
	unlock, err := lockNode()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer unlock()
	if n.link, err = netlink.NewHandle(); err != nil {
		return errors.Join(append(errs, fmt.Errorf("open netlink: %w", err))...)
	}
	defer n.link.Close()
	ports, err := n.ports()
	errs = append(errs, err)
	for name := range ports {
		errs = append(errs, n.removePort(name))
	}
	for _, id := range n.roster.IDs() {
		n.roster.Remove(id)
	}
	if _, err := os.Stat(n.netnsDir()); err == nil {
		errs = append(errs, n.sweep(n.netnsDir(), removeNamespace))
	}
	if l, err := n.link.LinkByName(n.BridgeName()); err == nil {
		errs = append(errs, n.link.LinkDel(l))
	}
	errs = append(errs, deleteTables(n.tableName(), n.BridgeName()))
	s, err := n.readSettings()
	errs = append(errs, err)
	if s.Forwarding && !n.anyBridge() {
		errs = append(errs, os.WriteFile(forwardingPath, []byte("0"), 0))
	}
	for _, p := range []string{n.netnsDir(), n.filesDir()} {
		errs = append(errs, os.RemoveAll(p))
	}
	for _, p := range []string{n.settingsPath(), n.exposedPath()} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// anyBridge tells whether the node has a bridge of whomever.
func (n *Network) anyBridge() bool {
	links, err := dump(n.link.LinkList)
	if err != nil {
		return true
	}
	for _, l := range links {
		if l.Type() == "bridge" {
			return true
		}
	}
	return false
}
