"""Every SQL statement that the client sends, each with a sentence of purpose.

Texts are composed from the declarations, identifiers quoted, and always name the schema: nothing depends on the
session's search_path. Values are parameters; arrays are sent in binary (`%b`), because psycopg would look at every
element for what its text has to escape. What is asked when, and what the answer means, is in
`mds_client.protocol.operations`.

The statements are in three modules; everything else imports them from here.
"""

from mds_client.sql.basis import *  # noqa: F403 - a list of the names would be a second one
from mds_client.sql.reads import *  # noqa: F403
from mds_client.sql.writes import *  # noqa: F403
