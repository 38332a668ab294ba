package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/runtime"
)

// Namespace is containerd's namespace of everything that ikada keeps there.
const Namespace = "ikada"

// Config says where an instance lives. DataDir is the only field that must be set.
type Config struct {
	// DataDir is ikada's data directory, absolute. What must outlive a restart of the machine is below it.
	DataDir string
	// StateDir holds sockets and the state of what runs; "" is /run/ikada-INSTANCE. At most 40 bytes, since socket
	// names are built on it.
	StateDir string
	// Command starts a containerd; the path of its configuration is added. Empty: this program's "containerd --config".
	Command []string
	// Mirrors are base URLs to ask before a registry itself, by its host name.
	Mirrors map[string][]string
	// Credentials gives user and password (or "" and a token) for a registry's host name; nil, or both empty: none.
	Credentials func(host string) (user, password string, err error)
	// Log gets changes of state; nil throws them away.
	Log *slog.Logger
}

// Validate checks the configuration.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.DataDir) {
		return api.FieldError("DataDir", c.DataDir, "an absolute path")
	}
	if c.StateDir != "" && !filepath.IsAbs(c.StateDir) {
		return api.FieldError("StateDir", c.StateDir, "an absolute path")
	}
	if dir := c.stateDir(); len(dir) > maxStateDir {
		return api.FieldError("StateDir", dir, fmt.Sprintf("at most %d bytes", maxStateDir))
	}
	return nil
}

// maxStateDir leaves room for "/s" in the 42 bytes that containerd allows for the directory of the shims' sockets.
const maxStateDir = 40

// Instance is a name of this instance that is unique on the machine: the beginning of a hash of DataDir.
func (c Config) Instance() string {
	sum := sha256.Sum256([]byte(filepath.Clean(c.DataDir)))
	return hex.EncodeToString(sum[:4])
}

func (c Config) stateDir() string {
	if c.StateDir != "" {
		return filepath.Clean(c.StateDir)
	}
	return "/run/ikada-" + c.Instance()
}

func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// RunDir is the directory of sockets and of the state of what runs.
func (c Config) RunDir() string { return c.stateDir() }

// Address is the path of containerd's socket.
func (c Config) Address() string { return filepath.Join(c.stateDir(), "containerd.sock") }

// CgroupRoot is the path, below the cgroup file systems, of every cgroup of this instance.
func (c Config) CgroupRoot() string { return "/ikada-" + c.Instance() }

// CgroupPath is the path of one of the instance's groups of cgroups. The suffix keeps the name apart from the files that
// cgroup v1 has in every directory, one of which is called "tasks".
func (c Config) CgroupPath(group string) string {
	return filepath.Join(c.CgroupRoot(), group+".group")
}

// BinDir is where the embedded programs are unpacked.
func (c Config) BinDir() string { return filepath.Join(c.DataDir, "bin") }

// RuncPath is runc's path; builds run it too.
func (c Config) RuncPath() string { return filepath.Join(c.BinDir(), runtime.Runc) }

func (c Config) shimPath() string     { return filepath.Join(c.BinDir(), runtime.Shim) }
func (c Config) rootDir() string      { return filepath.Join(c.DataDir, "containerd") }
func (c Config) configPath() string   { return filepath.Join(c.DataDir, "containerd", "config.json") }
func (c Config) logPath() string      { return filepath.Join(c.DataDir, "containerd", "containerd.log") }
func (c Config) containerd() string   { return filepath.Join(c.stateDir(), "c") }
func (c Config) ttrpcAddress() string { return c.Address() + ".ttrpc" }
func (c Config) socketDir() string    { return filepath.Join(c.stateDir(), "s") }
func (c Config) runcRoot() string     { return filepath.Join(c.stateDir(), "runc") }
func (c Config) fifoDir() string      { return filepath.Join(c.stateDir(), "f") }
func (c Config) pidPath() string      { return filepath.Join(c.stateDir(), "containerd.pid") }
func (c Config) exitDir() string      { return filepath.Join(c.DataDir, "exits") }

// taskPlugin is the name of the part of containerd that runs tasks, and of its directories.
const taskPlugin = "io.containerd.runtime.v2.task"

// bundle is the directory in which containerd runs a container.
func (c Config) bundle(id string) string {
	return filepath.Join(c.containerd(), taskPlugin, Namespace, id)
}

// runcState is the directory in which runc notes a container.
func (c Config) runcState(id string) string { return filepath.Join(c.runcRoot(), Namespace, id) }

// shimSocket is the socket of a container's shim; its name is the shim library's (CreateSocketAddress).
func (c Config) shimSocket(id string) string {
	sum := sha256.Sum256([]byte(filepath.Join(c.Address(), Namespace, id)))
	return filepath.Join(c.socketDir(), hex.EncodeToString(sum[:]))
}

func (c Config) taskLog(id string) string {
	return filepath.Join(c.DataDir, "logs", id)
}
