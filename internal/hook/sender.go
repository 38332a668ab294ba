package hook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	sendTimeout = 15 * time.Second
	maxAnswer   = 64 << 10 // bytes of an answer that are read, and thrown away
	maxPause    = 15 * time.Minute
)

// The headers of a message.
const (
	SignatureHeader = "Ikada-Signature" // t=SECONDS,v1=HEX: HMAC-SHA256 of "SECONDS.BODY"
	EventHeader     = "Ikada-Event"     // what has happened
	DeliveryHeader  = "Ikada-Delivery"  // the message's ID, the same at every attempt
)

// Sender sends messages. It follows no redirect, uses no proxy, gives back nothing of an answer but its status, and
// never connects to link-local addresses, where clouds keep their machines' credentials. Safe for concurrent use.
type Sender struct {
	client *http.Client
	now    func() time.Time
}

// NewSender makes a sender.
func NewSender() *Sender {
	dialer := &net.Dialer{Timeout: sendTimeout, Control: guard}
	return &Sender{now: time.Now, client: &http.Client{
		Timeout: sendTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: sendTimeout, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// metadata is where a cloud's machines find their credentials by IPv6; by IPv4 that is link-local.
var metadata = netip.MustParseAddr("fd00:ec2::254")

// guard refuses addresses once names are resolved, so that no name leads there.
func guard(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := a.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip.WithZone("") == metadata || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("hooks do not go to %s", ip)
	}
	return nil
}

// outcome is what became of an attempt.
type outcome struct {
	status  int           // of HTTP; 0 when there was no answer
	problem string        // "" is delivered
	pause   time.Duration // that the receiver asks for; 0 is none
	gone    bool          // it says that it wants no more of this
}

// send makes one attempt.
func (s *Sender) send(ctx context.Context, target api.HookTarget, m api.HookMessage, body []byte) outcome {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL, bytes.NewReader(body))
	if err != nil {
		return outcome{problem: "the address is malformed", gone: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "ikada")
	req.Header.Set(EventHeader, m.On)
	req.Header.Set(DeliveryHeader, m.ID)
	req.Header.Set(SignatureHeader, Sign(target.Secret, s.now(), body))
	resp, err := s.client.Do(req)
	if err != nil {
		if uerr, ok := errors.AsType[*url.Error](err); ok {
			err = uerr.Err // its text repeats the address
		}
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return outcome{problem: fmt.Sprintf("no answer within %s", sendTimeout)}
		}
		return outcome{problem: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	o := outcome{status: resp.StatusCode}
	switch resp.StatusCode / 100 {
	case 2:
		return o
	case 3:
		o.problem = fmt.Sprintf("it answered %d; redirects are not followed", o.status)
	default:
		o.problem = fmt.Sprintf("it answered %d", o.status)
	}
	o.gone = o.status == http.StatusGone
	o.pause = asked(resp.Header.Get("Retry-After"), s.now())
	return o
}

// asked gives the pause that a Retry-After header asks for, in seconds or until a date (RFC 9110, section 10.2.3), as far
// as it is granted.
func asked(header string, now time.Time) time.Duration {
	var pause time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		pause = time.Duration(min(seconds, 1<<20)) * time.Second
	} else if until, err := http.ParseTime(header); err == nil {
		pause = until.Sub(now)
	}
	return min(max(pause, 0), maxPause)
}

// Sign gives a message's signature: the receiver reckons v1 anew from t and the body it got, and refuses an old t.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// Test sends a message that says that it is a test, once.
func (s *Sender) Test(ctx context.Context, h api.Hook, target api.HookTarget, by string) (api.HookResult, error) {
	began := time.Now()
	m := api.HookMessage{ID: "test-" + began.UTC().Format("20060102T150405.000000000"), Hook: h.Name, Time: began.UTC(), On: api.HookTest,
		Level: api.LevelInfo, Message: "This is a test of the hook " + h.Name + ", asked for by " + cmp.Or(by, "nobody") + "."}
	body, err := encode(h.Format, m)
	if err != nil {
		return api.HookResult{}, err
	}
	o := s.send(ctx, target, m, body)
	return api.HookResult{Status: o.status, Took: api.Duration(time.Since(began)), Problem: o.problem}, nil
}
