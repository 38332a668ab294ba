package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/proxy/inside"
)

// The socket for listening sockets speaks in messages of one JSON array of addresses with as many descriptors
// (SCM_RIGHTS of unix(7)). A client's first byte says whether it gets them or puts them; an empty array ends either.
const (
	getFiles  = 'g'
	putFiles  = 'p'
	perPacket = 64 // descriptors in one message; the kernel allows 253
	fileTime  = 5 * time.Second
)

func filesPath(socket string) string { return socket + ".fd" }

func listenFiles(socket string) (*net.UnixListener, error) { return listenUnix(filesPath(socket)) }

// passFiles serves the socket until it is closed.
func (s *server) passFiles(ln *net.UnixListener) {
	for {
		conn, err := ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: the caller tries again
			continue
		}
		if err := s.passTo(conn); err != nil {
			s.log.Warn("pass listening sockets", "error", err)
		}
		_ = conn.Close()
	}
}

func (s *server) passTo(conn *net.UnixConn) error {
	if err := conn.SetDeadline(time.Now().Add(fileTime)); err != nil {
		return err
	}
	verb := make([]byte, 1)
	if _, err := conn.Read(verb); err != nil {
		return err
	}
	if verb[0] == putFiles {
		files, err := receiveFiles(conn)
		if err != nil {
			return err
		}
		listeners, questions := map[string]net.Listener{}, map[string]*os.File{}
		for addr, f := range files {
			if inside.Owns(addr) {
				questions[addr] = f
				continue
			}
			ln, err := net.FileListener(f)
			_ = f.Close()
			if err != nil {
				s.log.Warn("take over listening socket", "address", addr, "error", err)
				continue
			}
			listeners[addr] = ln
		}
		s.proxy.Inherit(listeners)
		s.names.Inherit(questions)
		_, err = conn.Write([]byte{putFiles})
		return err
	}
	files, err := s.proxy.Listeners()
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	questions, err := s.names.Files()
	if err != nil {
		return err
	}
	maps.Copy(files, questions)
	return sendFiles(conn, files)
}

func closeAll(files map[string]*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// sendFiles sends descriptors; they stay the sender's too.
func sendFiles(conn *net.UnixConn, files map[string]*os.File) error {
	var addrs []string
	var fds []int
	flush := func() error {
		b, err := json.Marshal(addrs)
		if err != nil {
			return err
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		_, _, err = conn.WriteMsgUnix(append(b, '\n'), rights, nil)
		addrs, fds = nil, nil
		return err
	}
	for addr, f := range files {
		raw, err := f.SyscallConn() // not Fd: that would make the shared socket block
		if err != nil {
			return err
		}
		var fd int
		if err := raw.Control(func(v uintptr) { fd = int(v) }); err != nil {
			return err
		}
		addrs, fds = append(addrs, addr), append(fds, fd)
		if len(fds) == perPacket {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(fds) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	addrs = []string{}
	return flush()
}

// receiveFiles takes descriptors until the empty array.
func receiveFiles(conn *net.UnixConn) (_ map[string]*os.File, err error) {
	out := map[string]*os.File{}
	defer func() {
		if err != nil {
			closeAll(out)
		}
	}()
	text, rights := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*perPacket))
	var pending []byte
	var fds []int
	for {
		n, k, _, _, err := conn.ReadMsgUnix(text, rights)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errors.New("the sockets' sender went away")
		}
		messages, err := unix.ParseSocketControlMessage(rights[:k])
		if err != nil {
			return nil, err
		}
		for i := range messages {
			got, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return nil, err
			}
			fds = append(fds, got...)
		}
		pending = append(pending, text[:n]...)
		for {
			i := bytes.IndexByte(pending, '\n')
			if i < 0 {
				break
			}
			var addrs []string
			if err := json.Unmarshal(pending[:i], &addrs); err != nil {
				return nil, err
			}
			pending = pending[i+1:]
			if len(addrs) == 0 {
				return out, nil
			}
			if len(addrs) > len(fds) {
				return nil, fmt.Errorf("%d addresses came with %d sockets", len(addrs), len(fds))
			}
			for j, addr := range addrs {
				unix.CloseOnExec(fds[j])
				out[addr] = os.NewFile(uintptr(fds[j]), addr)
			}
			fds = fds[len(addrs):]
		}
	}
}

// dialFiles connects to a process's socket for listening sockets and says what it wants.
func dialFiles(ctx context.Context, socket string, verb byte) (*net.UnixConn, error) {
	c, err := (&net.Dialer{Timeout: fileTime}).DialContext(ctx, "unix", filesPath(socket))
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UnixConn) // a unix socket's connection is one
	if err := conn.SetDeadline(time.Now().Add(fileTime)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := conn.Write([]byte{verb}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// fetchListeners gets copies of a process's listening sockets.
func fetchListeners(ctx context.Context, socket string) (map[string]*os.File, error) {
	conn, err := dialFiles(ctx, socket, getFiles)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return receiveFiles(conn)
}

// giveListeners hands listening sockets to a process, and waits until it has them.
func giveListeners(ctx context.Context, socket string, files map[string]*os.File) error {
	conn, err := dialFiles(ctx, socket, putFiles)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := sendFiles(conn, files); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
