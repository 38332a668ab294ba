package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

const (
	// silence is how long a client of a port that may speak anything can say nothing before its target is asked
	// whether it is the one that speaks first.
	silence = 100 * time.Millisecond

	// spelling is how long a client may take to say enough that HTTP can be told from something else.
	spelling = time.Second
)

// passage is a TCP connection to a published port or a virtual address, passed on as bytes, or found to speak HTTP.
type passage struct {
	door   *door
	client *net.TCPConn
	head   []byte // read from the client and not passed on yet
	from   client
	search search
	start  time.Duration // on the proxy's clock
}

func newPassage(d *door, c *net.TCPConn, head []byte, from client) *passage {
	g := &passage{door: d, client: c, head: head, from: from, start: d.proxy.clock()}
	g.search = search{proxy: d.proxy, seeker: g, shard: d.proxy.nextShard()}
	return g
}

// find is the seeker's.
func (g *passage) find(t *table) *entry { return g.door.direct(t, &g.from) }

// prefers gives no task: sticky sessions are HTTP's.
func (g *passage) prefers(*entry) string { return "" }

func (g *passage) matches(*policy.Match) bool { return false }

// gone is not known: a client that leaves is noticed when there is a target to tell.
func (g *passage) gone() <-chan struct{} { return nil }

func (g *passage) run(protocol string) {
	p := g.door.proxy
	p.conns.enter()
	defer p.conns.leave()
	drop := p.conns.add(g.client)
	defer func() { drop() }()
	defer g.search.end()
	if protocol == api.ProtoTCP {
		g.pass(true)
		return
	}
	for wait := silence; ; {
		switch g.hear(wait) {
		case saidHTTP:
			// The connection of HTTP answers for itself from here on.
			drop()
			drop = func() {}
			g.door.serveHTTP(g.client, nil, g.head, g.from)
			return
		case saidOther:
			g.pass(len(g.head) > 0)
			return
		case saidGone:
			_ = g.client.Close()
			return
		case saidNothing:
			if wait != silence {
				_ = g.client.Close()
				return
			}
			if done, err := g.introduce(); done {
				return
			} else if err != nil {
				// There is no target to ask. Should the client have spoken HTTP meanwhile, it gets an answer that says so.
				wait = time.Millisecond
			}
		}
	}
}

// said is what a client's first bytes amount to.
type said int

const (
	saidNothing said = iota
	saidHTTP
	saidOther // also the end of what it has to say
	saidGone
)

// hear reads until it is clear what the client speaks, for at most wait while it says nothing.
func (g *passage) hear(wait time.Duration) said {
	defer func() { _ = g.client.SetReadDeadline(time.Time{}) }()
	deadline := time.Now().Add(wait)
	var buf [512]byte
	for {
		switch soundsHTTP(g.head) {
		case yes:
			return saidHTTP
		case no:
			return saidOther
		}
		if err := g.client.SetReadDeadline(deadline); err != nil {
			return saidGone
		}
		n, err := g.client.Read(buf[:])
		if n > 0 && len(g.head) == 0 {
			deadline = time.Now().Add(spelling)
		}
		g.head = append(g.head, buf[:n]...)
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded) && len(g.head) == 0:
			return saidNothing
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return saidOther
		case err != nil:
			return saidGone
		}
	}
}

// pass connects the client with a target until both have ended. Having none is a failure only when something was
// asked: one that came and closed without a word, as port checks do, has lost nothing.
func (g *passage) pass(asked bool) {
	defer g.client.Close()
	t, up, err := g.connect()
	if err != nil && !asked {
		return
	}
	if err != nil {
		g.book(failureOf(err))
		return
	}
	defer t.release()
	g.join(up, nil)
}

// connect gives a target that has accepted a connection, and counts the client there.
func (g *passage) connect() (*target, *net.TCPConn, error) {
	p := g.door.proxy
	g.search.begin()
	for {
		t, err := g.search.next()
		if err != nil {
			if !errors.Is(err, errNoRoute) {
				g.explain(err)
			}
			return nil, nil, err
		}
		up, err := t.dial(p.life)
		if err == nil {
			return t, up, nil
		}
		t.release()
		t.member.Failed(p.clock())
		g.search.refused(t, err)
	}
}

// join books the connection as accepted and copies both ways until the end.
func (g *passage) join(up *net.TCPConn, upHead []byte) {
	defer up.Close()
	defer g.door.proxy.conns.add(up)()
	g.book(meter.None)
	g.search.end()
	splice(g.client, up, g.head, upHead, nil)
}

func (g *passage) book(f meter.Failure) {
	if g.search.leaf == nil {
		return
	}
	p := g.door.proxy
	now := p.clock()
	g.search.leaf.Add(g.search.shard, &meter.Result{Failure: f, Wait: now - g.start, Total: now - g.start, Held: g.search.until != 0}, p.wall(now))
}

// introduce connects a client that says nothing to a target, and waits for either to speak. If the target is first,
// or the client says something other than HTTP, they are joined to the end and done is true. If the client speaks
// HTTP, or the target leaves before anything was said, the target's connection is dropped: hear again.
func (g *passage) introduce() (done bool, err error) {
	defer g.search.end() // heard again, it is counted anew, or by its requests
	t, up, err := g.connect()
	if err != nil {
		return false, err
	}
	defer t.release()
	defer up.Close()
	defer g.door.proxy.conns.add(up)()
	g.start = g.door.proxy.clock() // what came before was not waiting for an answer
	first := g.first(t, up)
	switch {
	case first.left:
		return false, nil
	case first.client.gone():
		_ = g.client.Close()
		return true, nil
	}
	g.head = first.client.bytes
	if !first.target.spoke() && len(g.head) > 0 && g.hear(spelling) == saidHTTP {
		return false, nil
	}
	defer g.client.Close()
	g.join(up, first.target.bytes)
	return true, nil
}

// opening is what two silent sides did when the silence was broken.
type opening struct {
	client, target utterance
	left           bool // neither has spoken, and the target has left the table
}

type utterance struct {
	bytes []byte
	err   error // of the Read; a deadline when it was interrupted
}

func (u utterance) spoke() bool {
	return len(u.bytes) > 0 || u.err != nil && !errors.Is(u.err, os.ErrDeadlineExceeded)
}

func (u utterance) gone() bool {
	return u.spoke() && u.err != nil && !errors.Is(u.err, io.EOF)
}

// first waits for the client, the target or the target's leave, whichever is first, and gives what both have said by
// then. No Read is in progress afterwards.
func (g *passage) first(t *target, up *net.TCPConn) (o opening) {
	said := make(chan *utterance, 2)
	listen := func(c net.Conn, u *utterance) {
		buf := make([]byte, 4<<10)
		n, err := c.Read(buf)
		u.bytes, u.err = buf[:n], err
		said <- u
	}
	go listen(g.client, &o.client)
	go listen(up, &o.target)
	waiting := 2
	select {
	case <-said:
		waiting--
	case <-t.left:
	}
	past := time.Unix(1, 0)
	// An error means that the connection is closed, on which the Read returns too.
	_, _ = g.client.SetReadDeadline(past), up.SetReadDeadline(past)
	for range waiting {
		<-said
	}
	_, _ = g.client.SetReadDeadline(time.Time{}), up.SetReadDeadline(time.Time{})
	o.left = !o.client.spoke() && !o.target.spoke()
	return o
}

type verdictOnHTTP int

const (
	unclear verdictOnHTTP = iota
	yes
	no
)

// soundsHTTP tells whether a connection that begins with b speaks HTTP: a method in capitals, a space, and a target
// that begins with a slash, an asterisk (also the preface of HTTP/2, "PRI * HTTP/2.0") or "http".
func soundsHTTP(b []byte) verdictOnHTTP {
	const longestMethod = 20
	for i, c := range b {
		switch {
		case 'A' <= c && c <= 'Z', c == '-' && i > 0:
			if i == longestMethod {
				return no
			}
		case c != ' ' || i == 0:
			return no
		case i+1 == len(b):
			return unclear
		default:
			switch b[i+1] {
			case '/', '*', 'h', 'H':
				return yes
			}
			return no
		}
	}
	return unclear
}

// heard is a client's connection of which the beginning has been read already.
type heard struct {
	*net.TCPConn
	head []byte
}

// Read gives the beginning first.
func (h *heard) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	return h.TCPConn.Read(p)
}

// WriteTo is net.TCPConn's, with the beginning before it.
func (h *heard) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, bytes.NewReader(h.head))
	h.head = h.head[n:]
	if err != nil {
		return n, err
	}
	m, err := h.TCPConn.WriteTo(w)
	return n + m, err
}
