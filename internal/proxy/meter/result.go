package meter

import (
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// Failure says in what way a request went wrong.
type Failure uint8

// The kinds of failures. None, Aborted and Maintenance are not failed; but for the last, a status of 500 and above is
// failed whatever the kind.
const (
	None        Failure = iota
	Refused             // no task accepted the connection
	Reset               // the connection broke before an answer began
	Timeout             // the answer did not begin in time
	NoTarget            // no task was ready in time, or the client left while it waited for one
	Protocol            // the target's answer was no HTTP
	Overload            // the queue was full, or the balancer stopped
	Broken              // the answer broke off at the target
	Aborted             // the client left while a target worked on it or answered
	Maintenance         // the route shows its maintenance page
	failures            // how many there are
)

// Failed tells whether requests of the kind are failed whatever their status.
func (f Failure) Failed() bool { return f != None && f != Aborted && f != Maintenance }

// failureNames is in the order of the constants.
var failureNames = [failures]string{
	"", "refused", "reset", "timeout", "no target", "protocol", "overload", "broken", "aborted", "maintenance",
}

// String gives the kind as logs and answers have it; that of None is empty.
func (f Failure) String() string {
	if f >= failures {
		return fmt.Sprintf("failure %d", uint8(f))
	}
	return failureNames[f]
}

// MarshalText gives the kind as String does.
func (f Failure) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText gives; another text is an error of kind Invalid.
func (f *Failure) UnmarshalText(b []byte) error {
	i := slices.Index(failureNames[:], string(b))
	if i < 0 {
		return api.Errorf(api.Invalid, "unknown kind of failure %q", b)
	}
	*f = Failure(i)
	return nil
}

// Result is what became of one request. An upgraded connection has its result when it is switched, a TCP connection
// when its target has accepted it; both have no more then.
type Result struct {
	Status  int // that the client was sent; 0: none was sent, or none exists (TCP)
	Failure Failure
	Wait    time.Duration // to the first byte of the answer, or until its failure was clear
	Total   time.Duration // to the last byte; only the access log has it
	In, Out int64         // bytes from and to the client, heads and bodies
	Retries int           // attempts after the first
	Held    bool          // it waited for a target
}

// Failed tells whether the request counts as failed: no answer, one of 500 and above that is no maintenance page, or one
// that broke off at the target.
func (r *Result) Failed() bool { return failed(r.class(), r.kind()) }

// classes is how many classes of status there are: by the first digit, 0 for none.
const classes = 6

func (r *Result) class() int { return min(max(r.Status/100, 0), classes-1) }

// kind is the failure with one that nobody declared taken for the last that is failed.
func (r *Result) kind() Failure {
	if r.Failure >= failures {
		return Broken
	}
	return r.Failure
}

func failed(class int, kind Failure) bool {
	return kind.Failed() || class == 5 && kind != Maintenance
}
