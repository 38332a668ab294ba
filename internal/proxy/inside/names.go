package inside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/ikada/ikada/api"
)

const (
	reopenEvery = time.Second // after which a port that could not be had is tried again
	closeTime   = 2 * time.Second
)

// The kinds of sockets in Files, before their address.
const (
	udpFile = "dns-udp "
	tcpFile = "dns-tcp "
)

// Names is the name service of a node's bridge. It answers once it knows both the bridge and the services, so that no
// name of a service is denied just because the service is not known yet.
type Names struct {
	log     *slog.Logger
	changed func() // called when Problems have changed
	answer  answerer
	cancel  context.CancelFunc // of answer.ctx

	mu       sync.Mutex
	bridge   *Bridge
	services []api.Inside
	routed   bool
	handed   map[string]*os.File // sockets of another process that wait to be used
	open     *sockets            // nil while nothing is answered
	failed   map[string]error    // by address
	over     bool                // Run has ended
}

// NewNames makes a name service. resolvers is the resolv.conf(5) whose name servers outside names are asked of; changed
// is called when Problems gives something else than before, and must not block.
func NewNames(resolvers string, changed func(), log *slog.Logger) *Names {
	n := &Names{log: log, changed: changed, failed: map[string]error{},
		answer: answerer{outside: forwarder{path: resolvers}, slots: make(chan struct{}, questionsAtOnce)}}
	n.answer.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Announce says who is on the bridge, in place of what was said before. When it returns, questions are answered by it.
// The bridge must not be changed afterwards.
func (n *Names) Announce(b Bridge) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bridge = &b
	n.update()
}

// Version gives the version of the announcement in force, 0 before the first.
func (n *Names) Version() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bridge == nil {
		return 0
	}
	return n.bridge.Version
}

// Route says which services there are, in place of what was said before. They must not be changed afterwards.
func (n *Names) Route(services []api.Inside) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.routed && slices.EqualFunc(n.services, services, sameNames) {
		return // tasks come and go more often than services
	}
	n.services, n.routed = services, true
	n.update()
}

// sameNames tells whether a directory says the same about two services.
func sameNames(a, b api.Inside) bool {
	a.Hold, a.Protocols, a.Targets = b.Hold, b.Protocols, b.Targets
	return a.Equal(&b)
}

// update puts what is known in force and sees to the sockets; n.mu is held.
func (n *Names) update() {
	if n.bridge == nil || !n.routed {
		return
	}
	n.answer.directory.Store(NewDirectory(*n.bridge, n.services))
	n.reopen()
}

// Inherit takes over what Files of another process gave; it must be called before Announce.
func (n *Names) Inherit(files map[string]*os.File) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handed = files
}

// Owns tells whether a name in a collection of sockets is one that Files gave.
func Owns(name string) bool {
	return strings.HasPrefix(name, udpFile) || strings.HasPrefix(name, tcpFile)
}

// Files gives copies of the sockets, to be handed to another process or kept so that questions wait while this one is
// replaced. The caller closes them.
func (n *Names) Files() (map[string]*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, nil
	}
	return n.open.files()
}

// Problems gives the addresses at which names cannot be answered, and why.
func (n *Names) Problems() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]string{}
	for addr, err := range n.failed {
		out[addr] = err.Error()
	}
	return out
}

// Run tries again what could not be opened, until ctx ends; then it takes no more questions but over the connections
// that there are, and returns when those have ended and all is answered, or after closeTime.
func (n *Names) Run(ctx context.Context) error {
	defer n.cancel()
	retry := time.NewTicker(reopenEvery)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			n.close()
			return nil
		case <-retry.C:
			n.mu.Lock()
			if len(n.failed) > 0 {
				n.reopen()
			}
			n.mu.Unlock()
		}
	}
}

// reopen answers at the bridge's gateway, and no longer where it was before; n.mu is held.
func (n *Names) reopen() {
	gateway := n.bridge.Gateway
	if n.over || n.open != nil && n.open.gateway == gateway {
		return
	}
	if n.open != nil {
		n.open.close(n.log)
		n.open = nil
	}
	s, err := openSockets(gateway, n.handed)
	n.dropHanded() // copied, or not wanted
	addr := address(gateway)
	before, known := n.failed[addr]
	changed := len(n.failed) > 0 && !known || known != (err != nil) || known && before.Error() != err.Error()
	clear(n.failed)
	if err != nil {
		n.failed[addr] = err
	}
	if changed {
		n.changed()
	}
	if err != nil {
		if changed {
			n.log.Warn("names are not answered", "error", err)
		}
		return
	}
	s.serve(&n.answer, n.log)
	n.open = s
}

func (n *Names) dropHanded() {
	for _, f := range n.handed {
		_ = f.Close()
	}
	n.handed = nil
}

func (n *Names) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	n.dropHanded()
	if n.open == nil {
		return
	}
	n.open.end(closeTime)
	n.cancel()
	n.open.close(n.log)
	n.open = nil
}

func address(gateway netip.Addr) string { return netip.AddrPortFrom(gateway, 53).String() }

// sockets is port 53 of one address, with the servers on it.
type sockets struct {
	gateway netip.Addr
	packets net.PacketConn
	streams net.Listener
	servers []*dns.Server
	running sync.WaitGroup
}

// openSockets opens port 53, or takes over the sockets of it that are among files, which stay the caller's.
func openSockets(gateway netip.Addr, files map[string]*os.File) (_ *sockets, err error) {
	addr := address(gateway)
	s := &sockets{gateway: gateway}
	var lc net.ListenConfig
	if f := files[udpFile+addr]; f != nil {
		s.packets, err = net.FilePacketConn(f)
	} else {
		s.packets, err = lc.ListenPacket(context.Background(), "udp4", addr)
	}
	if err != nil {
		return nil, listenError(addr, err)
	}
	if f := files[tcpFile+addr]; f != nil {
		s.streams, err = net.FileListener(f)
	} else {
		s.streams, err = lc.Listen(context.Background(), "tcp4", addr)
	}
	if err != nil {
		return nil, errors.Join(listenError(addr, err), s.packets.Close())
	}
	return s, nil
}

func listenError(addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return api.Errorf(api.Conflict, "answer DNS at %s: another DNS server of this node listens on every address; have it leave out ikada's bridge: %w",
			addr, err)
	}
	return fmt.Errorf("answer DNS at %s: %w", addr, err)
}

// serve starts to answer.
func (s *sockets) serve(h dns.Handler, log *slog.Logger) {
	s.servers = []*dns.Server{
		{PacketConn: s.packets, Handler: h},
		{Listener: s.streams, Handler: h, IdleTimeout: func() time.Duration { return tcpIdle }},
	}
	for _, server := range s.servers {
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		s.running.Go(func() {
			if err := server.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				log.Error("DNS server ended", "error", err)
			}
		})
		<-up // else a close right now would find it not started and leave it running
	}
}

// end takes no more connections and datagrams, and returns when those that there are have ended, or after a time. What
// waits in the sockets is for another process that has them.
func (s *sockets) end(most time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	_ = s.streams.Close()                 // its server goes on until the connections have ended
	_ = s.servers[0].ShutdownContext(ctx) // that of datagrams; it fails when the time is over
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// close stops reading questions and returns when those that were read are answered.
func (s *sockets) close(log *slog.Logger) {
	for _, server := range s.servers {
		if err := server.Shutdown(); err != nil {
			log.Debug("close DNS server", "error", err)
		}
	}
	s.running.Wait()
}

func (s *sockets) files() (map[string]*os.File, error) {
	out := map[string]*os.File{}
	addr := address(s.gateway)
	for name, socket := range map[string]any{udpFile + addr: s.packets, tcpFile + addr: s.streams} {
		f, err := socket.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			for _, f := range out {
				_ = f.Close()
			}
			return nil, fmt.Errorf("copy socket of %s: %w", addr, err)
		}
		out[name] = f
	}
	return out, nil
}
