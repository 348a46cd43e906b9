-- JSON-RPC as a browser sends it: 13 headers. Arguments after `--`:
--   CASE   balance | kept | chain_id | answer | answer_gzip | question
--   SIZE   calls in one batch (balance), bytes of the answer or of the question
--   SALT   16 hexadecimal digits, others in each run
-- No two calls of any run ask the same, so that nothing kept and no request in flight answers
-- them; but for `kept`, where 32 questions are asked again and again, and `chain_id`. The last
-- line of the output is JSON, for benchmarks/load.py.

local parts, turn = {}, 0
local KEPT = 32
local MARK = string.rep("#", 16) -- where each request has its own number

local function call(case, size, salt, n)
  if case == "chain_id" then
    return string.format('{"jsonrpc":"2.0","id":%d,"method":"eth_chainId","params":[]}', n)
  end
  local address = "0x" .. salt .. MARK .. string.format("%08x", n)
  if case == "balance" or case == "kept" then
    return string.format(
      '{"jsonrpc":"2.0","id":%d,"method":"eth_getBalance","params":["%s","latest"]}', n, address)
  end
  local answer, padding = size, 0
  if case == "question" then answer, padding = 64, size end
  return string.format(
    '{"jsonrpc":"2.0","id":%d,"method":"eth_call","params":[{"to":"%s","data":"0x%064x%s"},"latest"]}',
    n, address, answer, string.rep("0", padding))
end

local case

function init(args)
  local size, salt = tonumber(args[2] or "1"), args[3] or string.rep("0", 16)
  case = args[1] or "balance"
  local headers = {
    ["Content-Type"] = "application/json",
    ["Accept"] = "*/*",
    ["Accept-Language"] = "en-US,en;q=0.9",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ["Origin"] = "https://app.example.org",
    ["Referer"] = "https://app.example.org/",
    ["Sec-Fetch-Site"] = "cross-site",
    ["Sec-Fetch-Mode"] = "cors",
    ["Sec-Fetch-Dest"] = "empty",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Connection"] = "keep-alive",
  } -- and Host and Content-Length, which wrk writes
  if case == "answer" then headers["Accept-Encoding"] = "identity" end
  local body
  if case == "balance" and size > 1 then
    local calls = {}
    for j = 1, size do calls[j] = call(case, size, salt, 1000 + j) end
    body = "[" .. table.concat(calls, ",") .. "]"
  else
    body = call(case, size, salt, 100000)
  end
  -- Every other part is the request's number; the rest is made once.
  local text, from = wrk.format("POST", wrk.path, headers, body), 1
  while true do
    local first, last = text:find(MARK, from, true)
    if not first then break end
    parts[#parts + 1] = text:sub(from, first - 1)
    parts[#parts + 1] = MARK
    from = last + 1
  end
  parts[#parts + 1] = text:sub(from)
end

function request()
  turn = turn + 1
  if case == "kept" and turn > KEPT then turn = 1 end
  local number = string.format("%016x", turn)
  for i = 2, #parts, 2 do parts[i] = number end
  return table.concat(parts)
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
