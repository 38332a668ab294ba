package api

import (
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReleaseCheck is a check of the user's own, by which a release is judged besides its traffic. Exactly one of PromQL,
// HTTP and Command is set.
type ReleaseCheck struct {
	Name    string       `json:"name"`
	Service string       `json:"service,omitempty"` // of an app's check: whose tasks are asked, or whose image runs the command
	PromQL  *PromQLCheck `json:"promql,omitempty"`
	HTTP    *HTTPCheck   `json:"http,omitempty"`
	Command []string     `json:"command,omitempty"` // run as a job of the release that is checked; exit code 0 is good

	Interval     Duration `json:"interval,omitempty"`     // from one question to the next; 0 is DefaultCheckInterval
	Timeout      Duration `json:"timeout,omitempty"`      // of one question; 0 is DefaultCheckTimeout, of a command DefaultCommandTimeout
	InitialDelay Duration `json:"initialDelay,omitempty"` // from the release's first ready task to the first question
	Failures     int      `json:"failures,omitempty"`     // how many in a row fail the release; 0 is DefaultCheckFailures

	// OnError says what a question is that cannot be answered: OnErrorIgnore (also "") has it say nothing, OnErrorFail
	// has it count as a failure.
	OnError  string `json:"onError,omitempty"`
	Required bool   `json:"required,omitempty"` // the deployment does not succeed before the check has passed
}

// PromQLCheck compares the value of a query with bounds, at least one of which is set.
type PromQLCheck struct {
	Query      string   `json:"query"`                // may name variables, see [CheckVariables]
	Prometheus string   `json:"prometheus,omitempty"` // base URL of a server; "": ikada's own metrics
	Token      string   `json:"token,omitempty"`      // the app's secret that is sent there as a bearer token
	Max        *float64 `json:"max,omitempty"`        // the highest good value
	Min        *float64 `json:"min,omitempty"`        // the lowest good value
}

// HTTPCheck is good when GET answers as it should. Without URL each ready task of the release is asked, at most
// MaxCheckedTasks.
type HTTPCheck struct {
	URL      string            `json:"url,omitempty"`  // outside; may name variables
	Path     string            `json:"path,omitempty"` // at the tasks; may name variables
	Port     uint16            `json:"port,omitempty"` // of the tasks; 0: the service's first port
	Host     string            `json:"host,omitempty"` // Host header; "" is the address
	Headers  map[string]string `json:"headers,omitempty"`
	Token    string            `json:"token,omitempty"`    // the app's secret that is sent as a bearer token
	Status   int               `json:"status,omitempty"`   // 0: 200 to 399
	Contains string            `json:"contains,omitempty"` // in the first MaxCheckBody bytes of the answer
}

// What a check takes where its user is silent, and its bounds.
const (
	DefaultCheckInterval  = Duration(10 * time.Second)
	DefaultCheckTimeout   = Duration(5 * time.Second)
	DefaultCommandTimeout = Duration(time.Minute)
	DefaultCheckFailures  = 3
	MinCheckInterval      = Duration(time.Second)
	MaxCheckInterval      = Duration(5 * time.Minute)
	MaxCheckDelay         = Duration(5 * time.Minute)
	MaxCheckFailures      = 100
	MaxChecks             = 20 // of a service, and of an app
	MaxCheckedTasks       = 10
	MaxCheckBody          = 256 << 10
	MaxCheckQuery         = 8 << 10
)

// What becomes of a question that cannot be answered.
const (
	OnErrorIgnore = "ignore"
	OnErrorFail   = "fail"
)

// The kinds of a check.
const (
	CheckPromQL  = "promql"
	CheckHTTP    = "http"
	CheckCommand = "command"
)

// Kind gives what the check asks.
func (c *ReleaseCheck) Kind() string {
	switch {
	case c.PromQL != nil:
		return CheckPromQL
	case c.HTTP != nil:
		return CheckHTTP
	}
	return CheckCommand
}

// WithDefaults fills what is left open.
func (c ReleaseCheck) WithDefaults() ReleaseCheck {
	if c.Interval == 0 {
		c.Interval = DefaultCheckInterval
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultCheckTimeout
		if c.Kind() == CheckCommand {
			c.Timeout = DefaultCommandTimeout
		}
	}
	if c.Failures == 0 {
		c.Failures = DefaultCheckFailures
	}
	return c
}

// Apart tells whether the check asks one release and not whatever serves: so the release before can be asked as well.
func (c *ReleaseCheck) Apart() bool {
	switch {
	case c.PromQL != nil:
		return strings.Contains(FillCheck(c.PromQL.Query, map[string]string{"Release": "\x00"}), "\x00")
	case c.HTTP != nil:
		return c.HTTP.URL == ""
	}
	return true
}

// Asked tells of what the check asks, in short and without anything secret.
func (c *ReleaseCheck) Asked() string {
	switch {
	case c.PromQL != nil:
		return strings.Join(strings.Fields(c.PromQL.Query), " ")
	case c.HTTP != nil && c.HTTP.URL != "":
		return "GET " + BareURL(c.HTTP.URL)
	case c.HTTP != nil:
		path, _, _ := strings.Cut(c.HTTP.Path, "?")
		return "GET " + path
	}
	return strings.Join(c.Command, " ")
}

// BareURL gives a URL without user, query and fragment, which may be secret.
func BareURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that cannot be read"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Near tells whether a URL names, by an address or as localhost, the node that asks, or what is on its link: whoever may
// have it asked reaches what listens there for the node alone. A URL that leads there by another name is not asked.
func Near(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && NearAddress(ip.Unmap().WithZone(""))
}

// NearAddress tells whether an address is the node's own, or on its link.
func NearAddress(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast()
}

// URL gives what the check asks outside; "" is nothing.
func (c *ReleaseCheck) URL() string {
	switch {
	case c.PromQL != nil:
		return c.PromQL.Prometheus
	case c.HTTP != nil:
		return c.HTTP.URL
	}
	return ""
}

// Token gives the secret that the check sends; "" is none.
func (c *ReleaseCheck) Token() string {
	switch {
	case c.PromQL != nil:
		return c.PromQL.Token
	case c.HTTP != nil:
		return c.HTTP.Token
	}
	return ""
}

// CheckVariables are what queries, URLs and paths of checks may name, as {{.Release}}.
func CheckVariables() []string { return []string{"App", "Environment", "Service", "Release"} }

var checkVariable = regexp.MustCompile(`\{\{\s*(.*?)\s*\}\}`)

// FillCheck puts values in the place of variables; one that is not among them stays as it is.
func FillCheck(text string, values map[string]string) string {
	return checkVariable.ReplaceAllStringFunc(text, func(found string) string {
		name := checkVariable.FindStringSubmatch(found)[1]
		if v, ok := values[strings.TrimPrefix(name, ".")]; ok && strings.HasPrefix(name, ".") {
			return v
		}
		return found
	})
}

// Values gives what the variables of a check stand for.
func (c *ReleaseCheck) Values(env EnvRef, release uint64) map[string]string {
	return map[string]string{"App": env.App, "Environment": env.Env, "Service": c.Service, "Release": strconv.FormatUint(release, 10)}
}

// AllChecks gives the checks of the app, then those of its services by name, with their services and defaults.
func (s *AppSpec) AllChecks() []OwnedCheck {
	var out []OwnedCheck
	for _, c := range s.Checks {
		out = append(out, OwnedCheck{ReleaseCheck: c.WithDefaults()})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		for _, c := range s.Services[name].Checks {
			c.Service = name
			out = append(out, OwnedCheck{Owner: name, ReleaseCheck: c.WithDefaults()})
		}
	}
	return out
}

// OwnedCheck is a check with whose it is: a service's, or with an empty Owner the app's.
type OwnedCheck struct {
	Owner string
	ReleaseCheck
}

// CheckResult is how a check of a release has done so far.
type CheckResult struct {
	Owner   string    `json:"owner,omitempty"` // the service whose check it is; "": the app's
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`             // CheckPromQL, CheckHTTP, CheckCommand
	Asked   string    `json:"asked,omitempty"`  // the query, the path or the command
	Result  string    `json:"result,omitempty"` // of the last question: VerdictPass, VerdictFail, VerdictInsufficient; "": none was answered yet
	Value   *Number   `json:"value,omitempty"`  // of a query; an exit code; a status
	Bound   string    `json:"bound,omitempty"`  // what the value should be, such as "at most 0.5"
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at,omitzero"`      // when the last question was asked
	Since   time.Time `json:"since,omitzero"`   // since when there is something to ask
	Passed  int       `json:"passed,omitempty"` // how many questions so far
	Failed  int       `json:"failed,omitempty"`
	Unknown int       `json:"unknown,omitempty"` // that could not be answered
	InRow   int       `json:"inRow,omitempty"`   // failures in a row that count
	Blind   int       `json:"blind,omitempty"`   // that could not be answered, in a row
	Limit   int       `json:"limit"`             // how many failures in a row fail the release
	Excused bool      `json:"excused,omitempty"` // it fails, and the release before does so too
	Job     string    `json:"job,omitempty"`     // that gave the last answer

	Baseline *CheckBaseline `json:"baseline,omitempty"`
}

// CheckBaseline is what the release before answered last. One that fails too is no worse.
type CheckBaseline struct {
	Release uint64    `json:"release"`
	Result  string    `json:"result"`
	Value   *Number   `json:"value,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	Job     string    `json:"job,omitempty"`
}

// Title names the check as ReleaseCheck.Title does.
func (r *CheckResult) Title() string {
	if r.Owner == "" {
		return r.Name
	}
	return r.Owner + "/" + r.Name
}

// Number is a float whose JSON may also be "NaN", "+Inf" and "-Inf".
type Number float64

// MarshalText gives the shortest notation.
func (n Number) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalText reads what MarshalText gives.
func (n *Number) UnmarshalText(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return FieldError("value", string(b), "a number")
	}
	*n = Number(f)
	return nil
}
