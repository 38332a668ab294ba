package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// answerRaw treats requests as servers should not, until it is told to stop: "refuse" accepts no connection, "reset"
// resets the connection, "babble" answers what is no HTTP, "break" breaks off in the middle of an answer.
func answerRaw(mode string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if mode != "refuse" {
		l, err := net.Listen("tcp", ":"+port())
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go mistreat(c.(*net.TCPConn), mode)
			}
		}()
	}
	<-stop
	return nil
}

// mistreat reads the head of a request, and then does as told. A check that connects and leaves is let go.
func mistreat(c *net.TCPConn, mode string) {
	defer func() { _ = c.Close() }()
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
	}
	switch mode {
	case "reset":
		_ = c.SetLinger(0)
	case "babble":
		fmt.Fprint(c, "220 mail.example.com ESMTP\r\n")
	case "break":
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	}
}
