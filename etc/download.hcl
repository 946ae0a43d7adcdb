# What happens when a module is not stored.  Named by DownloadMode = "file:etc/download.hcl"; more in docs/policy.md.
#
#   sync            fetch it, store it, answer with it
#   async           answer 404, and fetch and store it meanwhile
#   redirect        send the client to downloadURL
#   async_redirect  send the client there, and fetch and store it meanwhile
#   none            answer 404

# For all that no block speaks of.
mode        = "async_redirect"
downloadURL = "https://proxy.example.com/go"

# The first block whose pattern matches goes before those behind it.
download "github.com/gomods/*" {
  mode = "sync"
}

download "golang.org/x/*" {
  mode = "none"
}

download "github.com/pkg/*" {
  mode        = "redirect"
  downloadURL = "https://mirror.example.com"
}
