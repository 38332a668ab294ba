package api

import "time"

// AuditRecord is one call that changes something, or that was to: who made it, and what became of it. It never holds
// what a request or an answer carried.
type AuditRecord struct {
	Time      time.Time `json:"time"` // when the answer began
	User      string    `json:"user"`
	Token     string    `json:"token,omitempty"` // its name; "" on the unix socket
	Grants    string    `json:"grants"`          // what the caller might do, "deploy on shop/staging"
	Remote    string    `json:"remote"`          // the caller's address; "uid 0, process 4711" on the unix socket
	Operation string    `json:"operation"`       // its ID in the OpenAPI document, or of the registry "push" or "delete"
	Object    string    `json:"object,omitempty"`
	Result    string    `json:"result"` // "ok", or the kind of the error
	Status    int       `json:"status"` // of HTTP
	Request   string    `json:"request"`
}

// AuditQuery chooses records.
type AuditQuery struct {
	Since time.Time `json:"since,omitzero"`  // none before
	Limit int       `json:"limit,omitempty"` // only the last so many; 0 is all
}
