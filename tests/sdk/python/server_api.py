"""Drives the server API with cent, as backends do: `{"call": method, "with": fields}` in, its result out, a line each."""

import json
import sys

import cent

url, key = sys.argv[1:]
client = cent.Client(f"{url}/api", key)


def request_of(call, fields):
    name = "".join(part.capitalize() for part in call.split("_")) + "Request"
    if call == "batch":
        requests = [request_of(*next(iter(command.items()))) for command in fields["requests"]]
        return cent.BatchRequest(requests=requests)
    return getattr(cent.dto, name)(**fields)


for line in sys.stdin:
    command = json.loads(line)
    try:
        result = client._send(request_of(command["call"], command["with"]))
        answer = {"result": result.model_dump(mode="json")}
    except cent.CentApiResponseError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except cent.CentUnauthorizedError:
        answer = {"error": {"code": 401, "message": "unauthorized"}}
    print(json.dumps(answer), flush=True)
