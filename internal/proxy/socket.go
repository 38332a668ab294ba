package proxy

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// socket is a TCP connection that can also be read and written without the detour through net.Conn: one system call
// for a read or a write, which is not announced to the scheduler because it cannot block.
//
// # Waiting without asking first
//
// A Read of net.Conn asks the kernel, is told that nothing is there, and only then waits. A proxy knows beforehand
// that nothing is there: the client has just got its answer, the target has just got the request. wait therefore calls
// f, and when that gives false waits for the next readiness without a read. That loses no wake-up because the poller
// is edge-triggered and remembers an edge that comes before the wait: the runtime forgets it only at the beginning of
// wait, so whatever makes the other side speak must be done inside f.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
}

func newSocket(c *net.TCPConn) (socket, error) {
	raw, err := c.SyscallConn()
	return socket{c, raw}, err
}

// wait calls f with the file descriptor, at once and then each time that the connection has become readable, until f
// gives true or the read deadline passes. f must not use the connection's own Read.
func (s *socket) wait(f func(fd uintptr) bool) error { return s.raw.Read(f) }

// readNow reads what is there: syscall.EAGAIN when there is nothing, io.EOF at the end.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return 0, syscall.EAGAIN
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// writeNow writes as much as the kernel takes, which may be nothing.
func writeNow(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return written(n, errno)
}

// writeBothNow is writeNow for two pieces, neither of them empty.
func writeBothNow(fd uintptr, a, b []byte) (int, error) {
	vec := [2]syscall.Iovec{{Base: &a[0]}, {Base: &b[0]}}
	vec[0].SetLen(len(a))
	vec[1].SetLen(len(b))
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&vec[0])), uintptr(len(vec)))
	return written(n, errno)
}

func written(n uintptr, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EAGAIN, syscall.EINTR:
		return 0, nil
	}
	return 0, errno
}

// The events of poll(2), which x/sys has for this platform too; these are the same on all that Linux runs on but
// POLLRDHUP on SPARC.
const (
	pollError  = 0x8
	pollHangUp = 0x10
	pollEnd    = 0x2000 // POLLRDHUP: the other side will send no more
)

// lookAtEnd tells, without reading, whether the other side has ended its sending, and whether the connection is dead.
func (s *socket) lookAtEnd() (ended, dead bool) {
	err := s.raw.Control(func(fd uintptr) {
		p := struct {
			fd              int32
			events, revents int16
		}{fd: int32(fd), events: pollEnd}
		zero := syscall.Timespec{}
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&zero)), 0, 0, 0)
		if errno != 0 || n == 0 {
			return
		}
		ended = p.revents&(pollEnd|pollHangUp) != 0
		dead = p.revents&(pollError|pollHangUp) != 0
	})
	return ended, dead || err != nil
}

// speaks tells whether something waits to be read on a connection that should be silent: an end, or bytes.
func (s *socket) speaks() bool {
	var b [1]byte
	silent := false
	err := s.raw.Control(func(fd uintptr) {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		silent = errno == syscall.EAGAIN
	})
	return err != nil || !silent
}
