# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vipd_global_optspecs
    string join \n runtime-dir= color= h/help V/version
end

function __fish_vipd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vipd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vipd_using_subcommand
    set -l cmd (__fish_vipd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vipd -n "__fish_vipd_needs_command" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_needs_command" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_needs_command" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_needs_command" -s V -l version -d 'Print version'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "run" -d 'Run the agent in the foreground'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "check" -d 'Check a configuration file and report all errors and warnings with line and column'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "import" -d 'Translate a keepalived configuration file, and report settings that need attention'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "stats" -d 'Show the counters of a running agent'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "status" -d 'Show the state of every instance of a running agent'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "top" -d 'Watch a running agent; drain or fail over instances interactively'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "reload" -d 'Apply the configuration file to a running agent, without disturbing unchanged instances'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "upgrade" -d 'Replace a running agent with a new process, for example after installing a new version'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "drain" -d 'Hand instances over to other nodes and keep them in fault until `undrain`'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "undrain" -d 'Put drained instances back into service'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "failover" -d 'Hand mastership of instances over to another node once'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "priority" -d 'Change the priority of an instance until it is reset or the agent shuts down'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "events" -d 'Show the latest events of a running agent, such as state changes'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "doctor" -d 'Find the cause of trouble on this host and on its segments'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "scan" -d 'List the VRRP routers of a segment'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "capture" -d 'Capture adverts, each with the decision of the BPF program'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "cleanup" -d 'Remove VIPs, routes, rules, macvlans and BPF programs left by a dead agent'
complete -c vipd -n "__fish_vipd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vipd -n "__fish_vipd_using_subcommand run" -s c -d 'Configuration file' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand run" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand run" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand run" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand check" -s c -d 'Configuration file' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand check" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand check" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand check" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand import" -s o -l output -d 'Write the result to a new file (default: standard output)' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand import" -l config-id -d 'ID for conditional lines (default: the host name up to its first dot)' -r
complete -c vipd -n "__fish_vipd_using_subcommand import" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand import" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand import" -l force -d 'Overwrite an existing output file'
complete -c vipd -n "__fish_vipd_using_subcommand import" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l interface -d 'Show only instances on this interface' -r
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l vrid -d 'Show only instances with this VRID, 1 to 255' -r
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l watch -d 'Repeat at this interval, e.g. 1 or 0.5, until interrupted' -r
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l json -d 'Print one line of JSON, with RFC 8347 names'
complete -c vipd -n "__fish_vipd_using_subcommand stats" -l prometheus -d 'Print in the Prometheus text exposition format'
complete -c vipd -n "__fish_vipd_using_subcommand stats" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand status" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand status" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand status" -l json -d 'Print one line of JSON, with RFC 8347 names'
complete -c vipd -n "__fish_vipd_using_subcommand status" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand top" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand top" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand top" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand reload" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand reload" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand upgrade" -l exe -d 'Executable of the new process (default: the file at the agent\'s own path). Requires root' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand upgrade" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand upgrade" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand drain" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand drain" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand drain" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand undrain" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand undrain" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand undrain" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand failover" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand failover" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand failover" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand priority" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand priority" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand priority" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand events" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand events" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand events" -s f -l follow -d 'Keep printing new events until interrupted'
complete -c vipd -n "__fish_vipd_using_subcommand events" -l json -d 'Print one JSON object per line'
complete -c vipd -n "__fish_vipd_using_subcommand events" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -s c -d 'Configuration file' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -l seconds -d 'Time to observe the adverts (default: 3.6 advert intervals, 4 to 60 s)' -r
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -l json -d 'Print one line of JSON'
complete -c vipd -n "__fish_vipd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand scan" -l seconds -d 'Time to observe adverts; should be at least 3 advert intervals' -r
complete -c vipd -n "__fish_vipd_using_subcommand scan" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand scan" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand scan" -l json -d 'Print one line of JSON'
complete -c vipd -n "__fish_vipd_using_subcommand scan" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand capture" -s w -l write -d 'Write a pcapng file, or `-` for standard output (default: print a line per advert)' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand capture" -s c -d 'Configuration file to compare adverts with (default: /etc/vipd/vipd.toml, if it exists)' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand capture" -l seconds -d 'Stop after this time' -r
complete -c vipd -n "__fish_vipd_using_subcommand capture" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand capture" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand capture" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand cleanup" -l runtime-dir -d 'Runtime directory with the control socket, one per agent' -r -F
complete -c vipd -n "__fish_vipd_using_subcommand cleanup" -l color -d 'Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c vipd -n "__fish_vipd_using_subcommand cleanup" -s h -l help -d 'Print help'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "run" -d 'Run the agent in the foreground'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "check" -d 'Check a configuration file and report all errors and warnings with line and column'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "import" -d 'Translate a keepalived configuration file, and report settings that need attention'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "stats" -d 'Show the counters of a running agent'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "status" -d 'Show the state of every instance of a running agent'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "top" -d 'Watch a running agent; drain or fail over instances interactively'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "reload" -d 'Apply the configuration file to a running agent, without disturbing unchanged instances'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "upgrade" -d 'Replace a running agent with a new process, for example after installing a new version'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "drain" -d 'Hand instances over to other nodes and keep them in fault until `undrain`'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "undrain" -d 'Put drained instances back into service'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "failover" -d 'Hand mastership of instances over to another node once'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "priority" -d 'Change the priority of an instance until it is reset or the agent shuts down'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "events" -d 'Show the latest events of a running agent, such as state changes'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "doctor" -d 'Find the cause of trouble on this host and on its segments'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "scan" -d 'List the VRRP routers of a segment'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "capture" -d 'Capture adverts, each with the decision of the BPF program'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "cleanup" -d 'Remove VIPs, routes, rules, macvlans and BPF programs left by a dead agent'
complete -c vipd -n "__fish_vipd_using_subcommand help; and not __fish_seen_subcommand_from run check import stats status top reload upgrade drain undrain failover priority events doctor scan capture cleanup help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
